"""What people asked: the first due first, until somebody marks it as answered."""

from __future__ import annotations

from flask import abort, flash, redirect, render_template, url_for
from werkzeug.wrappers import Response

import clock
import database
from blueprints.admin.base import actor, bp, own_pages
from extensions import db
from support import desk
from web import gates, idempotency


@bp.get("/admin/support")
@gates.requires(staff=True)
def list_support() -> str:
    """Show what waits for an answer by its due time, and what was answered lately."""
    session = db.session()
    return render_template(
        "admin/support.html",
        waiting=desk.waiting(session),
        answered=desk.answered(session),
        now=clock.now(),
        pages=own_pages("admin.list_support"),
    )


@bp.post("/admin/support/<request_id>/answered")
@gates.requires(staff=True)
def mark_answered(request_id: str) -> Response:
    """Note that the answer was given, by mail."""
    found = database.write(desk.mark_answered, request_id, actor=actor(), key=idempotency.key())
    if found is None:
        abort(404)
    flash(f"Marked as answered: {found.subject}", "success")
    return redirect(url_for("admin.list_support"), 303)
