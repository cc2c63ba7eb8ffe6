"""Whether the work gets done: objects that wait for Stripe or were given up, and mails that did not leave."""

from __future__ import annotations

from flask import abort, flash, redirect, render_template, request, url_for
from sqlalchemy import select
from werkzeug.wrappers import Response

import clock
import database
from billing import attention, back_office
from billing.models import StripeEvent, SyncTask
from blueprints.admin.base import actor, bp, own_pages
from extensions import db
from mail.models import DEAD, PENDING, Email
from web import gates, idempotency

NEWEST = 50


@bp.get("/admin/sync")
@gates.requires(staff=True)
def sync_health() -> str:
    """Show how long objects wait to be brought in line with Stripe, those given up, and the newest events."""
    session = db.session()
    waiting = select(SyncTask).where(SyncTask.clean < SyncTask.dirty, SyncTask.state == "live")
    dead = select(SyncTask).where(SyncTask.state == "dead").order_by(SyncTask.first_dirty_at)
    events = select(
        StripeEvent.received_at,
        StripeEvent.type,
        StripeEvent.stripe_id,
        StripeEvent.object_kind,
        StripeEvent.object_id,
        StripeEvent.deliveries,
        StripeEvent.source,
    ).order_by(StripeEvent.received_at.desc())
    return render_template(
        "admin/sync.html",
        overview=attention.overview(session),
        waiting=session.scalars(waiting.order_by(SyncTask.first_dirty_at).limit(NEWEST)).all(),
        dead=session.scalars(dead.limit(NEWEST)).all(),
        events=session.execute(events.limit(NEWEST)).all(),
        now=clock.now(),
        pages=own_pages("admin.sync_health"),
    )


@bp.post("/admin/sync/replay")
@gates.requires(staff=True)
def replay() -> Response:
    """Have an object fetched from Stripe again."""
    kind, object_id = request.form.get("kind", ""), request.form.get("object_id", "")
    if not database.write(back_office.replay_object, kind, object_id, actor=actor(), key=idempotency.key()):
        abort(404)
    flash(f"{object_id} is fetched again by the worker.", "success")
    return redirect(url_for("admin.sync_health"), 303)


@bp.get("/admin/mails")
@gates.requires(staff=True)
def mails() -> str:
    """Show the mails that were given up, those that wait, and the newest."""
    session = db.session()
    newest = select(Email).order_by(Email.id.desc()).limit(NEWEST)
    return render_template(
        "admin/mails.html",
        overview=attention.overview(session),
        dead=session.scalars(newest.where(Email.status == DEAD)).all(),
        waiting=session.scalars(newest.where(Email.status == PENDING)).all(),
        newest=session.scalars(newest).all(),
        pages=own_pages("admin.mails"),
    )


@bp.post("/admin/mails/<mail>/resend")
@gates.requires(staff=True)
def resend(mail: str) -> Response:
    """Queue a mail that was given up once more."""
    if not database.write(back_office.resend_mail, mail, actor=actor(), key=idempotency.key()):
        abort(404)
    flash("The mail is queued again.", "success")
    return redirect(url_for("admin.mails"), 303)
