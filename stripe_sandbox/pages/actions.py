"""What the dashboard's buttons do: move time, break things, refund, dispute, expire, resend, forget.

Forms of other sites' pages are refused by `app.refuse_foreign_forms`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from flask import Blueprint, abort, redirect, request
from werkzeug.wrappers import Response

from stripe_sandbox import deliveries, errors
from stripe_sandbox.control import MAX_ADVANCE_SECONDS
from stripe_sandbox.engine import (
    cancelling,
    checkout,
    disputes,
    fraud_warnings,
    invoicing,
    periods,
    refunds,
    test_clocks,
)
from stripe_sandbox.engine.wording import ZERO_DECIMAL
from stripe_sandbox.pages import access, dashboard, records
from stripe_sandbox.routes import billing_portal, webhook_endpoints
from stripe_sandbox.world import World

blueprint = Blueprint("actions", __name__, url_prefix="/dashboard")
Document = dict[str, Any]
HOUR, DAY = 3600, 86400
PAYMENT_SECONDS = HOUR + 60  # A renewal's invoice is a draft for an hour before it is charged.
ROLL_SECONDS = DAY


def _done(path: str, what: str) -> Response:
    return redirect(f"{path}?done={what}", 303)


def _number(name: str, *, least: float, most: float, default: float | None = None) -> float:
    """Return a number of the form; raises with the words for its page."""
    text = request.form.get(name, "").strip()
    if not text and default is not None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        raise errors.invalid(f"Enter a number from {least:g} to {most:g}.", name)
    return value


# Time -----------------------------------------------------------------------------------------------------------------


@blueprint.post("/time")
def advance() -> Any:
    """Move time forward by what the button says, or by the days that were typed."""
    sandbox = access.sandbox()
    try:
        sandbox.advance_to(_target(sandbox.clock.now()))
    except errors.StripeError as error:
        with access.world() as world:
            return dashboard.time_page(world, error)
    back = "/dashboard" if request.form.get("back") == "overview" else "/dashboard/time"
    return _done(back, "advanced")


def _target(now: float) -> float:
    by = request.form.get("by", "")
    if by == "hour":
        return now + HOUR
    if by == "day":
        return now + DAY
    if by == "month":
        return periods.add_months(int(now), 1)
    if by == "year":
        return periods.add_months(int(now), 12)
    if by == "renewal":
        at = records.next_renewal(access.sandbox().store, subscription=request.form.get("subscription", "")[:60])
        if at is None:
            raise errors.invalid("No subscription renews on the sandbox's clock.", "by")
        return max(at, now) + PAYMENT_SECONDS
    if by == "days":
        return now + min(_number("days", least=0, most=3660) * DAY, MAX_ADVANCE_SECONDS)
    raise errors.invalid("Choose by how much time is to move.", "by")


@blueprint.post("/clocks/<clock_id>")
def advance_clock(clock_id: str) -> Any:
    """Advance a test clock to a date, or by a month."""

    def act(world: World) -> None:
        clock = access.get_or_404(world, "test_helpers.test_clock", clock_id)
        to = periods.add_months(clock["frozen_time"], 1)
        if request.form.get("to"):
            to = _moment(request.form["to"])
        test_clocks.advance(world, clock, to)
        test_clocks.finish(world, clock)

    error = access.perform(act)
    if error is not None:
        with access.world() as world:
            return dashboard.time_page(world, error)
    return _done("/dashboard/time", "advanced")


def _moment(text: str) -> int:
    try:
        return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())
    except (ValueError, OverflowError):
        raise errors.invalid("Enter a date such as 2027-01-31.", "to") from None


# Faults ---------------------------------------------------------------------------------------------------------------


@blueprint.post("/faults")
def break_or_heal() -> Any:
    """Switch on a fault, set the limit on requests, or heal everything."""
    sandbox, what = access.sandbox(), request.form.get("what", "")
    try:
        if what == "heal":
            sandbox.heal()
            return _done("/dashboard/faults", "healed")
        if what == "limit":
            sandbox.limit_requests(int(_number("per_second", least=0, most=10000)))
            return _done("/dashboard/faults", "saved")
        _add_fault(what)
    except errors.StripeError as error:
        return dashboard.faults_page(error)
    return _done("/dashboard/faults", "broken")


def _add_fault(what: str) -> None:
    sandbox = access.sandbox()
    times = int(_number("times", least=0, most=1_000_000, default=0)) or None
    common: dict[str, Any] = {"share": int(_number("share", least=1, most=100, default=100)), "times": times}
    try:
        if what == "api":
            seconds = _number("seconds", least=0, most=110, default=3)
            path = request.form.get("path", "").strip()[:200]
            sandbox.break_api(request.form.get("mode", ""), seconds=seconds, path=path, **common)
        elif what == "deliveries":
            seconds = _number("seconds", least=0, most=DAY, default=10)
            types = request.form.get("types", "").replace(",", " ").split()[:50]
            sandbox.break_deliveries(request.form.get("mode", ""), seconds=seconds, types=types, **common)
        else:
            raise errors.invalid("Choose what is to go wrong.", "what")
    except ValueError as problem:
        raise errors.invalid(f"Choose what is to go wrong: {problem}.", "mode") from None


# Webhooks -------------------------------------------------------------------------------------------------------------


@blueprint.post("/deliveries/<delivery_id>/resend")
def resend(delivery_id: str) -> Any:
    """Send a delivery again, now, and show what came of it."""
    sandbox = access.sandbox()
    with access.world() as world:
        if records.delivery(world.store, delivery_id) is None:
            abort(404)
    # Not by `deliveries.resend`: the server's own thread would then send it a second time.
    deliveries.attempt(sandbox, delivery_id, deliveries.post_over_http)
    return _done(f"/dashboard/deliveries/{delivery_id}", "resent")


@blueprint.post("/endpoints")
def add_endpoint() -> Any:
    """Make an endpoint that hears of everything."""
    made: list[str] = []

    def act(world: World) -> None:
        wanted = {"url": request.form.get("url", "").strip(), "enabled_events": ["*"]}
        made.append(webhook_endpoints.make(world, wanted)["id"])

    error = access.perform(act)
    if error is not None:
        return dashboard.show("endpoint", error=error, url=request.form.get("url", ""))
    return _done(f"/dashboard/objects/{made[0]}", "saved")


@blueprint.get("/endpoints")
def new_endpoint() -> Any:
    return dashboard.show("endpoint", url="")


# Objects --------------------------------------------------------------------------------------------------------------


@blueprint.post("/objects/<path:object_id>")
def act_on(object_id: str) -> Any:
    """Do to an object what its button says."""
    action = ACTIONS.get(request.form.get("action", ""))
    if action is None:
        abort(404)
    answer: list[Response | str] = []

    def act(world: World) -> None:
        document = world.find_any(object_id)
        if document is None:
            abort(404)
        world.follow_clock_of(world.find("customer", document.get("customer")))
        answer.append(action(world, document))

    error = access.perform(act)
    access.sandbox().run_due()
    if error is None:
        result = answer[0]
        return result if isinstance(result, Response) else _done(f"/dashboard/objects/{object_id}", result)
    with access.world() as world:
        return dashboard.object_page(world, object_id, error)


Action = Callable[[World, Document], "Response | str"]
ACTIONS: dict[str, Action] = {}


def action(name: str, *kinds: str) -> Callable[[Action], Action]:
    """Register what a button does to objects of some kinds; for others it is refused in words."""

    def register(function: Action) -> Action:
        def checked(world: World, document: Document) -> Response | str:
            if document["object"] not in kinds:
                raise errors.invalid(f"This cannot be done to a {document['object']}.", "action")
            return function(world, document)

        ACTIONS[name] = checked
        return function

    return register


def _charge(world: World, document: Document) -> Document:
    charge_id = document["id"] if document["object"] == "charge" else document.get("latest_charge")
    charge = world.find("charge", charge_id)
    if charge is None:
        raise errors.invalid("No charge was made with it yet.", "action")
    return charge


@action("refund", "charge", "payment_intent")
def _refund(world: World, document: Document) -> str:
    charge = _charge(world, document)
    refunds.create(world, charge, amount=_cents(request.form.get("amount", ""), charge["currency"]))
    return "refunded"


def _cents(text: str, currency: str) -> int | None:
    """Return an amount that was typed, in the currency's smallest unit; None when the field was left empty."""
    typed = re.sub(r"[^0-9.-]", "", text.replace(",", ""))
    if not text.strip():
        return None
    try:
        value = Decimal(typed) * (1 if currency in ZERO_DECIMAL else 100)
    except InvalidOperation:
        raise errors.invalid("Enter an amount such as 12.50.", "amount") from None
    if value != int(value) or abs(value) > 10**12:
        raise errors.invalid("Enter an amount such as 12.50.", "amount")
    return int(value)


@action("dispute", "charge", "payment_intent")
def _dispute(world: World, document: Document) -> str:
    disputes.open_dispute(world, _charge(world, document))
    return "disputed"


@action("inquiry", "charge", "payment_intent")
def _inquire(world: World, document: Document) -> str:
    disputes.open_dispute(world, _charge(world, document), inquiry=True)
    return "disputed"


@action("fraud_warning", "charge", "payment_intent")
def _warn_of_fraud(world: World, document: Document) -> str:
    fraud_warnings.raise_warning(world, _charge(world, document))
    return "warned"


@action("win", "dispute")
def _win(world: World, document: Document) -> str:
    if document["status"] in disputes.OPEN:
        disputes.give_evidence(world, document, {"uncategorized_text": "winning_evidence"}, submit=True)
    document["_wins"] = True
    disputes.decide_when_due(world, document)
    return "decided"


@action("lose", "dispute")
def _lose(world: World, document: Document) -> str:
    if document["status"] in disputes.OPEN:
        disputes.close(world, document)
    document["_wins"] = False
    disputes.decide_when_due(world, document)
    return "decided"


@action("expire_card", "payment_method")
def _expire_card(world: World, document: Document) -> str:
    if document["type"] != "card":
        raise errors.invalid("Only cards expire.", "action")
    last = datetime.fromtimestamp(periods.add_months(world.now, -1), UTC)
    document["card"].update(exp_month=last.month, exp_year=last.year)
    document["_behaviour"] = "decline:expired_card"
    world.save(document, "payment_method.updated")
    return "expired"


@action("expire_session", "checkout.session")
def _expire_session(world: World, document: Document) -> str:
    if document["status"] != "open":
        raise errors.invalid("Only an open checkout session expires.", "action")
    checkout.expire(world, document)
    return "session_expired"


@action("pay", "invoice")
def _pay(world: World, document: Document) -> str:
    if document["status"] not in ("draft", "open", "uncollectible"):
        raise errors.invalid(f"The invoice is {document['status']}.", "action")
    invoicing.pay(world, document)
    return "paid" if document["status"] == "paid" else "saved"


@action("cancel", "subscription")
def _cancel(world: World, document: Document) -> str:
    if document["status"] in ("canceled", "incomplete_expired"):
        raise errors.invalid("The subscription has ended already.", "action")
    cancelling.cancel_now(world, document, prorate=False, invoice_now=False)
    return "cancelled"


@action("portal", "customer", "subscription")
def _portal(world: World, document: Document) -> Response:
    customer = document["id"] if document["object"] == "customer" else document["customer"]
    back = f"{world.sandbox.base_url}/dashboard/objects/{document['id']}"
    session = billing_portal.create_session(world, {"customer": customer, "return_url": back})
    return redirect(f"/p/session/{session['id']}", 303)


@action("roll", "webhook_endpoint")
def _roll(world: World, document: Document) -> str:
    webhook_endpoints.roll_secret(world, document, keep_seconds=ROLL_SECONDS if request.form.get("keep") else 0)
    return "rolled"


@action("toggle", "webhook_endpoint")
def _toggle(world: World, document: Document) -> str:
    document["status"] = "disabled" if document["status"] == "enabled" else "enabled"
    world.save(document)
    return "saved"


@action("remove", "webhook_endpoint")
def _remove(world: World, document: Document) -> Response:
    world.delete(document)
    return _done("/dashboard", "removed")


@action("resend", "event")
def _resend_all(world: World, document: Document) -> str:
    for one in records.deliveries_of(world.store, document["id"]):
        deliveries.resend(world, one["id"])
    return "resent"


# Everything -----------------------------------------------------------------------------------------------------------


@blueprint.post("/reset")
def reset() -> Any:
    """Forget everything, when the box beside the button is ticked."""
    if not request.form.get("sure"):
        error = errors.invalid("Tick the box to forget everything.", "sure")
        with access.world() as world:
            return dashboard.time_page(world, error)
    access.sandbox().reset()
    return _done("/dashboard", "reset")
