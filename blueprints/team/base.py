"""The blueprint of teams, and what its pages share."""

from __future__ import annotations

from flask import Blueprint, Response

from web import idempotency
from web.current import current_account

bp = Blueprint("team", __name__)

SEE_OTHER = 303
UNPROCESSABLE = 422


@bp.after_request
def _keep_private(response: Response) -> Response:
    # A token is in the path of an invitation: it must neither be kept nor told to other sites.
    response.headers["Cache-Control"] = "no-store"
    response.headers["Referrer-Policy"] = "same-origin"
    return response


def form_key() -> str:
    """Return the key under which a change of a team is done once: the form's one-time number."""
    return f"team:{idempotency.key()}"


def manager() -> str:
    """Return what changes of a team are counted by: the account."""
    return f"account:{current_account().id}"
