"""The CV checker for programs: the same gates, the same transaction, JSON instead of pages."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Request, Response, jsonify, request, url_for
from werkzeug.exceptions import BadRequest

from accounts.models import MEMBER
from blueprints import reports
from blueprints.reports import answers
from checker import archive, report, text
from checker.models import Report
from extensions import db
from web import api_access, gates, idempotency
from web.current import current_account

bp = Blueprint("reports_api", __name__, url_prefix="/api/v1/cv")

CREATED = 201
MAX_PAGE = 100


def cost_of_body(_request: Request) -> int:
    """Return the credits that the CV in a request's JSON costs."""
    return reports.credits_for(text.read(_body()[0]).pages)


@bp.post("/price")
@gates.requires(verified=True, role=MEMBER)
@api_access.limited
def price() -> Response:
    """Say what a CV will cost; nothing is kept and nothing is charged."""
    document = text.read(_body()[0])
    return jsonify(pages=document.pages, words=document.word_count, credits=reports.credits_for(document.pages))


@bp.post("")
@gates.requires(verified=True, credits=cost_of_body, role=MEMBER)
@api_access.limited
def create() -> tuple[Response, int, dict[str, str]]:
    """Check a CV, charge for it and keep the report; `max_credits` refuses to pay more than that."""
    cv, advert, max_credits = _body()
    text.read_advert(advert)
    credits = reports.credits_for(text.read(cv).pages)
    if max_credits is not None and credits > max_credits:
        raise answers.PriceChanged(credits, max_credits)
    findings = report.check(cv, advert)
    kept = reports.keep(findings, reports.fingerprint(cv, advert), idempotency.key())
    address = url_for("reports_api.show", public_id=kept.public_id)
    return jsonify(_whole(kept)), CREATED, {"Location": address}


@bp.get("/<public_id>")
@gates.requires(role=MEMBER)
@api_access.limited
def show(public_id: str) -> Response:
    """Return a report of one's own."""
    return jsonify(_whole(reports.find_or_404(public_id)))


@bp.get("")
@gates.requires(feature="history", role=MEMBER)
@api_access.limited
def index() -> Response:
    """Return the account's reports, the latest first, without their contents."""
    limit = request.args.get("limit", default=20, type=int)
    if not 1 <= limit <= MAX_PAGE:
        raise BadRequest(f"limit must be from 1 to {MAX_PAGE}.")
    kept = archive.recent(db.session(), current_account().id, limit)
    return jsonify(reports=[_summary(row) for row in kept])


def _body() -> tuple[str, str, int | None]:
    try:
        body = request.get_json()
    except RecursionError as error:
        raise BadRequest("The JSON is nested too deeply.") from error
    if not isinstance(body, dict):
        raise BadRequest('Send a JSON object such as {"text": "..."}.')
    unknown = sorted(set(body) - {"text", "advert", "max_credits"})
    if unknown:
        raise BadRequest(f"Unknown member {unknown[0]!r}: send text, advert and max_credits only.")
    cv, advert, max_credits = body.get("text", ""), body.get("advert", ""), body.get("max_credits")
    if not isinstance(cv, str) or not isinstance(advert, str):
        raise BadRequest("text and advert must be strings.")
    if max_credits is not None and (type(max_credits) is not int or max_credits < 0):
        raise BadRequest("max_credits must be a whole number of credits.")
    return cv, advert, max_credits


def _summary(kept: Report) -> dict[str, Any]:
    return {
        "id": kept.public_id,
        "title": kept.title,
        "score": kept.score,
        "pages": kept.pages,
        "credits": kept.credits,
        "created_at": kept.created_at.isoformat(),
        "url": url_for("reports_api.show", public_id=kept.public_id),
    }


def _whole(kept: Report) -> dict[str, Any]:
    return {**_summary(kept), "report": kept.content}
