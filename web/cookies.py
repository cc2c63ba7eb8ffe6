"""The browser's session as a signed cookie: Flask's own, checked once for each cookie and not once for each page."""

from __future__ import annotations

from typing import Any

from flask import Flask, Request, Response, g
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface, SessionMixin
from itsdangerous import BadSignature, TimestampSigner, URLSafeTimedSerializer

from web import api_access
from web.shelf import Shelf

# Cookies of people who are here now, of some 300 bytes each; the others make way.
MOST_READ = 5_000
# The clock that cookies are signed by: that of itsdangerous, which does not travel.
SIGNING_TIME = TimestampSigner("it signs nothing").get_timestamp
UNCHANGING = frozenset({str, int, float, bool, type(None)})


class CookieSessions(SecureCookieSessionInterface):
    """Flask's signed cookie; what signs it is made once for the app's keys, and not at all where there is no cookie."""

    def __init__(self) -> None:
        self._serializers: dict[tuple[object, ...], URLSafeTimedSerializer | None] = {}
        self._read = Shelf[tuple[int, dict[str, Any]]](MOST_READ)

    def get_signing_serializer(self, app: Flask) -> URLSafeTimedSerializer | None:
        """Return what signs with these keys, made once."""
        keys = (app.secret_key, *app.config["SECRET_KEY_FALLBACKS"])
        if keys not in self._serializers:
            self._serializers[keys] = super().get_signing_serializer(app)
        return self._serializers[keys]

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        """Return the session in the cookie, or an empty one."""
        g.is_program = api_access.is_program(request, cookie=self.get_cookie_name(app))
        # A program says itself who it is: whatever cookie came along counts for nothing.
        if g.is_program or "HTTP_COOKIE" not in request.environ:
            return self.session_class()
        return self.session_class(self._said_by(request.cookies.get(self.get_cookie_name(app), ""), app))

    def _said_by(self, cookie: str, app: Flask) -> dict[str, Any]:
        """Return what a cookie says, nothing unless we signed it and it is young enough.

        That we signed it is found out once for each cookie and key, how old it is each time. Whether the session in it
        still lives, its row says.
        """
        signer = self.get_signing_serializer(app)
        if signer is None or not cookie:
            return {}
        known = self._read.find((signer, cookie))
        if known is None:
            try:
                said, signed_at = signer.loads(cookie, return_timestamp=True)
            except BadSignature:
                return {}
            known = (int(signed_at.timestamp()), said)
            # What could be changed in place would be changed for the next request too.
            if all(type(value) in UNCHANGING for value in said.values()):
                self._read.keep((signer, cookie), known)
        age = SIGNING_TIME() - known[0]
        return known[1] if 0 <= age <= app.permanent_session_lifetime.total_seconds() else {}

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """Set the cookie where it is to be set; "Vary" is on every page already (web/headers.py)."""
        if session.modified or self.should_set_cookie(app, session):
            super().save_session(app, session, response)
