"""Bodies that come in chunks: what gunicorn cannot read of one is the sender's mistake, not ours.

gunicorn looks at chunks only while the app reads them, and raises errors of its own; unheard, each would be a 500.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from flask import Flask

if TYPE_CHECKING:
    from _typeshed.wsgi import InputStream, StartResponse, WSGIApplication, WSGIEnvironment


def init_app(app: Flask) -> None:
    """Stand between the server and the app."""
    app.wsgi_app = Chunked(app.wsgi_app)  # type: ignore[method-assign]


class Chunked:
    """Hands on requests; of those in chunks a body that is malformed ends as 400."""

    def __init__(self, inner: WSGIApplication) -> None:
        self._inner = inner

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        if "HTTP_TRANSFER_ENCODING" in environ:
            environ["wsgi.input"] = _Body(environ["wsgi.input"])
        return self._inner(environ, start_response)


class _Body:
    def __init__(self, inner: InputStream) -> None:
        self._inner = inner

    def read(self, size: int = -1, /) -> bytes:
        """Read on; Werkzeug takes an OSError for a client that is gone, and answers with 400."""
        try:
            return self._inner.read(size)
        except Exception as error:
            raise OSError("the chunks of the body are malformed") from error
