# Tollgate: `make run` and `make test` are all there is to know; `make help` lists the rest.
PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := help
.PHONY: help run test check fix lint types bench proof mutants lock clean

help: ## List the targets.
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

run: .venv/run ## Serve the app, the local Stripe and the worker; nothing to edit, nothing to answer.
	@$(BIN)/python development.py

test: .venv/test ## Run the whole suite on SQLite, and on PostgreSQL where a server answers; ONLY=path runs a part of it.
	@$(BIN)/python -m $(if $(ONLY),pytest -q $(ONLY),tests)

check: lint types test ## All that must hold before a commit lands.

lint: .venv/test ## Find what the linter finds.
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: .venv/test ## Check the types.
	@$(BIN)/mypy

fix: .venv/test ## Format, and fix what can be fixed by itself.
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

proof: .venv/test ## Try to lose or invent a credit; print "0 of N".
	@$(BIN)/python -m proofs

mutants: .venv/test ## Put small faults into the code; print how many no test notices.
	@$(BIN)/python -m proofs.mutants

bench: .venv/test ## Measure against the bare minimum, in one run; print ratios.
	@$(BIN)/python -m bench

lock: .venv/test ## Resolve the dependencies anew, with hashes.
	@$(BIN)/pip install --quiet uv
	@$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header pyproject.toml -o requirements.txt
	@$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --group dev -c requirements.txt pyproject.toml -o requirements-dev.txt

clean: ## Forget the local database, the local Stripe and the mails; keep .env.
	@rm -rf var

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("Tollgate needs Python 3.11 or later; set PYTHON=python3.x") if sys.version_info < (3, 11) else None'
	@$(PYTHON) -m venv .venv

.venv/run: requirements.txt | .venv/bin/python
	@echo "Installing what the app needs..."
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@touch $@

.venv/test: requirements-dev.txt | .venv/bin/python
	@echo "Installing what the tests need..."
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@ .venv/run
