"""What no request of ours ever holds, refused at the door so that no view and no database has to think of it."""

from __future__ import annotations

from flask import Flask, abort, request

FORM_TYPES = {"application/x-www-form-urlencoded", "multipart/form-data"}
NUL = "\0"


def init_app(app: Flask) -> None:
    """Refuse NUL characters: PostgreSQL cannot store them, and browsers do not send them."""

    @app.before_request
    def refuse_nul() -> None:
        if NUL in request.path:
            abort(404)
        fields = [request.args] if request.query_string else []
        if request.mimetype in FORM_TYPES:
            fields.append(request.form)
        if any(NUL in name + value for field in fields for name, value in field.items(multi=True)):
            abort(400, "The request holds a NUL character. Take it out and send it again.")
