"""What each kind of problem means: the pages that the `type` of our problem details leads to."""

from __future__ import annotations

from flask import Blueprint, abort, render_template

from web import errors, gates
from web.answers import Answer

bp = Blueprint("problems", __name__)


@bp.get("/problems")
@gates.public
def index() -> str:
    """List every kind of problem that the API answers with."""
    return render_template("problems/index.html", kinds=sorted(_kinds().values(), key=lambda row: row.kind))


@bp.get("/problems/<kind>")
@gates.public
def show(kind: str) -> str:
    """Say what one kind of problem means."""
    row = _kinds().get(kind)
    if row is None:
        abort(404)
    return render_template("problems/show.html", kind=row)


def _kinds() -> dict[str, Answer]:
    return {row.kind: row for row in errors.table().values()}
