"""The blueprint of the settings, and what its pages share."""

from __future__ import annotations

from flask import Blueprint
from flask_login import current_user
from werkzeug.wrappers import Response

bp = Blueprint("settings", __name__, url_prefix="/settings")

View = str | Response | tuple[str, int]

SEE_OTHER = 303
GONE = 410
UNPROCESSABLE = 422


@bp.after_request
def _keep_private(response: Response) -> Response:
    # A token is in the path of a mailed link: it must neither be kept nor told to other sites.
    response.headers["Cache-Control"] = "no-store"
    response.headers["Referrer-Policy"] = "same-origin"
    return response


def person() -> str:
    """Return what a person's changes are counted by: the person, from wherever they come."""
    return f"person:{current_user.id}"
