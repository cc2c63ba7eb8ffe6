# The app and the worker in one image; compose.yaml runs both. Unbuilt and untried: see docs/deploying.md.
FROM python:3.11-slim AS libraries
WORKDIR /app
COPY requirements.txt .
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir --require-hashes -r requirements.txt

FROM python:3.11-slim
RUN useradd --create-home --uid 10001 tollgate
WORKDIR /app
COPY --from=libraries /venv /venv
COPY --chown=tollgate . .
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 WEB_BIND=0.0.0.0:5000
USER tollgate
EXPOSE 5000
HEALTHCHECK --interval=10s --timeout=3s CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:5000/healthz', timeout=2)"]
CMD ["gunicorn", "--config", "gunicorn.conf.py"]
