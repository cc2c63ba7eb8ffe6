"""The Flask class of the site: what every request goes through, and a shorter way for machines that come in bursts."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from flask import Flask, Response, request
from flask.typing import ResponseReturnValue

from web import gates, templates
from web.cookies import CookieSessions


class Site(Flask):
    """Flask, with a cheaper session and a short way for the views of `gates.machines`.

    What runs around a page asks about its form, its visitor and their session. A machine has none of these, so nothing
    of it runs for machines; the headers that every response carries are added further out (web/headers.py).
    """

    jinja_environment = templates.SharedGlobals
    # All templates are kept: to forget the least used, Jinja searches a list whenever a page imports a component.
    jinja_options = {"cache_size": -1}
    session_interface = CookieSessions()

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function: none of ours is a coroutine, and Flask would look a dozen times for each request."""
        return func

    def preprocess_request(self) -> ResponseReturnValue | None:
        """Run what comes before a page; nothing does before the view of a machine."""
        return None if request.endpoint in self._for_machines else super().preprocess_request()

    def process_response(self, response: Response) -> Response:
        """Run what comes after a page; an answer to a machine is kept by nobody, and that is all."""
        if request.endpoint not in self._for_machines:
            return super().process_response(response)
        response.headers["Cache-Control"] = "no-store"
        return response

    def do_teardown_request(self, exc: BaseException | None = None) -> None:
        """Put away what was set up before a page."""
        if request.endpoint not in self._for_machines:
            super().do_teardown_request(exc)

    @cached_property
    def _for_machines(self) -> frozenset[str]:
        return frozenset(name for name, view in self.view_functions.items() if gates.is_for_machines(view))
