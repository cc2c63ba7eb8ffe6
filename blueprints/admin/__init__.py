"""The back office: what staff sees of customers, and the few things they may change, each with its audit line.

Every view says `@gates.requires(staff=True)`: for everybody else these pages do not exist.
"""

from __future__ import annotations

from flask import render_template

import clock
from accounts import audit
from billing import attention, history
from blueprints.admin import customers, disputes, refunds, support, upkeep
from blueprints.admin.base import asked_id, bp, own_pages
from extensions import db
from support import desk
from web import gates

__all__ = ["bp", "customers", "disputes", "refunds", "support", "upkeep"]

PAGE_SIZE = 50


@bp.get("/admin")
@gates.requires(staff=True)
def index() -> str:
    """Show what waits for somebody, and the search."""
    session = db.session()
    return render_template(
        "admin/index.html",
        overview=attention.overview(session),
        questions=desk.count_waiting(session),
        questions_overdue=desk.count_waiting(session, only_overdue=True),
        now=clock.now(),
        pages=own_pages("admin.index"),
    )


@bp.get("/admin/audit")
@gates.requires(staff=True)
def audit_log() -> str:
    """Show everything that staff has done, newest first."""
    rows = audit.recent(db.session(), before_id=asked_id("before"), limit=PAGE_SIZE + 1)
    return render_template(
        "admin/audit.html",
        rows=[(row, history.in_words_of(row)) for row in rows[:PAGE_SIZE]],
        older_than=rows[PAGE_SIZE - 1].id if len(rows) > PAGE_SIZE else None,
        pages=own_pages("admin.audit_log"),
    )
