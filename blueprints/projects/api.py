"""Projects and events for programs: the same gates and transactions, JSON instead of pages."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify, request
from werkzeug.exceptions import BadRequest

import database
from accounts.models import MEMBER
from blueprints import projects
from blueprints.projects.base import MOST_AT_ONCE
from extensions import db
from projects import shelf
from projects.models import Project
from web import api_access, gates, idempotency
from web.current import current_account

bp = Blueprint("projects_api", __name__, url_prefix="/api/v1/projects")

CREATED = 201


@bp.get("")
@gates.requires(role=MEMBER)
@api_access.limited
def index() -> Response:
    """Return the account's projects, the latest first."""
    return jsonify(projects=[_shown(project) for project in shelf.recent(db.session(), current_account().id)])


@bp.post("")
@gates.requires(verified=True, limit=shelf.LIMIT, role=MEMBER)
@api_access.limited
def create() -> tuple[Response, int]:
    """Make a project."""
    name = _body("name").get("name")
    if not isinstance(name, str) or not 1 <= len(name.strip()) <= 80:
        raise BadRequest("name must be a text of 1 to 80 characters.")
    made = database.write(shelf.make, current_account().id, name.strip(), key=idempotency.key())
    return jsonify(_shown(made)), CREATED


@bp.post("/<public_id>/events")
@gates.requires(verified=True, limit=shelf.METER, role=MEMBER)
@api_access.limited
def send_events(public_id: str) -> tuple[Response, int]:
    """Count events, once per Idempotency-Key."""
    project = projects.find_or_404(public_id)
    count = _body("count").get("count")
    if type(count) is not int or not 1 <= count <= MOST_AT_ONCE:
        raise BadRequest(f"count must be a whole number from 1 to {MOST_AT_ONCE}.")
    recorded = database.write(projects.take_events, current_account().id, project.id, count, key=idempotency.key())
    now = recorded.standing
    return jsonify(count=count, used=now.used, included=now.included, allowed=now.allowed), CREATED


def _body(*names: str) -> dict[str, Any]:
    try:
        body = request.get_json()
    except RecursionError as error:
        raise BadRequest("The JSON is nested too deeply.") from error
    if not isinstance(body, dict) or set(body) - set(names):
        raise BadRequest(f"Send a JSON object with {', '.join(names)} only.")
    return body


def _shown(project: Project) -> dict[str, Any]:
    return {"id": project.public_id, "name": project.name, "created_at": project.created_at.isoformat()}
