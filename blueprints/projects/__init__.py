"""The demo of what is sold by size: projects up to the plan's limit, and events that are counted and billed by use.

It is there where the catalogue names a limit `projects` and a meter `events`. What is counted: projects/shelf.py.
"""

from __future__ import annotations

from flask import Flask, abort, flash, redirect, render_template, url_for
from flask_wtf import FlaskForm
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response
from wtforms import StringField
from wtforms.validators import InputRequired, Length, NumberRange

import database
from accounts.models import MEMBER
from billing import catalog, coming_use, limits, usage, usage_standing
from billing.usage_standing import Standing
from blueprints.projects.base import MOST_AT_ONCE, bp
from extensions import db
from projects import shelf
from projects.models import Project
from web import filters, gates, idempotency
from web.current import current_account
from web.whole_numbers import WholeNumberField


class ProjectForm(FlaskForm):  # type: ignore[misc]
    """A new project."""

    name = StringField(
        "Name",
        validators=[InputRequired("Give the project a name."), Length(max=80, message="Use at most 80 characters.")],
    )


class EventsForm(FlaskForm):  # type: ignore[misc]
    """Some events, sent by hand."""

    count = WholeNumberField(
        "Events",
        default=1000,
        validators=[
            InputRequired("Say how many."),
            NumberRange(1, MOST_AT_ONCE, message=f"Send from 1 to {MOST_AT_ONCE:,} at once."),
        ],
    )


def init_app(app: Flask) -> None:
    """Add the pages and the API, where the catalogue sells projects."""
    from blueprints.projects import api

    sold: catalog.Catalog = app.extensions["catalog"]
    if shelf.LIMIT in sold.free_plan.limits and any(meter.key == shelf.METER for meter in sold.meters):
        app.register_blueprint(bp)
        app.register_blueprint(api.bp)


@bp.get("/projects")
@gates.requires(role=MEMBER)
def index() -> str:
    """List the account's projects, with the room that is left."""
    return _index(ProjectForm())


@bp.post("/projects")
@gates.requires(verified=True, limit=shelf.LIMIT, role=MEMBER)
def create() -> Response | tuple[str, int]:
    """Make a project."""
    form = ProjectForm()
    if not form.validate_on_submit():
        return _index(form), 422
    made = database.write(shelf.make, current_account().id, form.name.data.strip(), key=idempotency.key())
    return redirect(url_for("projects.show", public_id=made.public_id), 303)


@bp.get("/projects/<public_id>")
@gates.requires(role=MEMBER)
def show(public_id: str) -> str:
    """Show a project of one's own, and what its plan still takes of events."""
    return _show(find_or_404(public_id), EventsForm())


@bp.post("/projects/<public_id>/events")
@gates.requires(verified=True, limit=shelf.METER, role=MEMBER)
def send_events(public_id: str) -> Response | tuple[str, int]:
    """Take some events: they are counted in the transaction that would keep them."""
    project, form = find_or_404(public_id), EventsForm()
    if not form.validate_on_submit():
        return _show(project, form), 422
    recorded = database.write(take_events, current_account().id, project.id, form.count.data, key=idempotency.key())
    if not recorded.is_replay:
        flash(f"{filters.number(form.count.data)} events taken.", "success")
    return redirect(url_for("projects.show", public_id=public_id), 303)


@bp.post("/projects/<public_id>/remove")
@gates.requires(role=MEMBER)
def remove(public_id: str) -> Response:
    """Remove a project, and make room for another."""
    if not database.write(shelf.remove, current_account().id, public_id):
        abort(404)
    flash("Removed.", "success")
    return redirect(url_for("projects.index"), 303)


def find_or_404(public_id: str) -> Project:
    """Return a project of the signed-in account; those of others do not exist for it."""
    return shelf.find(db.session(), current_account().id, public_id) or abort(404)


def take_events(session: Session, account_id: int, project_id: int, count: int, *, key: str) -> usage.Recorded:
    """Count events of a project, once per key; a product would keep them here, in the same transaction."""
    return usage.record(session, account_id, shelf.METER, count, key=f"project:{project_id}:{key}")


def events_standing() -> Standing:
    """Return how the account stands with events."""
    return usage_standing.standing(db.session(), current_account().id, shelf.METER)


def _index(form: ProjectForm) -> str:
    session, account_id = db.session(), current_account().id
    room = limits.room(session, account_id, shelf.LIMIT)
    roomy = limits.plans_with_room(shelf.LIMIT, room.used)
    return render_template(
        "projects/index.html",
        form=form,
        projects=shelf.recent(session, account_id),
        room=room,
        larger_plan=next(iter(roomy), None),
    )


def _show(project: Project, form: EventsForm) -> str:
    standing = events_standing()
    coming = coming_use.by_meter(db.session(), current_account().id, [standing])
    return render_template(
        "projects/show.html", project=project, form=form, standing=standing, coming_cents=coming[standing.meter]
    )
