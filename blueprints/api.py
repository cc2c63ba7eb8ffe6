"""What programs may ask about the account itself; the product's own calls stand beside its pages."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from accounts.models import MEMBER
from billing import access
from extensions import db
from ledger import statement
from web import api_access, gates
from web.current import current_account

bp = Blueprint("api", __name__, url_prefix="/api/v1")


@bp.get("/balance")
@gates.requires(role=MEMBER)
@api_access.limited
def balance() -> Response:
    """Return the credits that can be spent now, the plan, and when its period ends (null without a subscription)."""
    session, account_id = db.session(), current_account().id
    subscription = access.subscription_of(session, account_id)
    plan = access.plan_opened_by(subscription)
    ends_at = subscription.period_ends_at if subscription is not None and not plan.is_free else None
    return jsonify(
        credits=statement.balance(session, account_id).total,
        plan={"key": plan.key, "name": plan.name},
        period_ends_at=ends_at.isoformat() if ends_at is not None else None,
    )
