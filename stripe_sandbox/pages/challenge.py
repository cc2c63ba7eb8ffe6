"""The bank's page for intents that the API or an invoice made: is it really you?"""

from __future__ import annotations

import urllib.parse
from typing import Any

from flask import Blueprint, abort, redirect, render_template, request

from stripe_sandbox.engine import methods, payments
from stripe_sandbox.engine.wording import money
from stripe_sandbox.pages import access
from stripe_sandbox.pages.checkout import SHOP
from stripe_sandbox.world import World

blueprint = Blueprint("challenge", __name__, url_prefix="/challenge")
Document = dict[str, Any]


def _intent(world: World, intent_id: str) -> Document:
    intent = world.find("payment_intent", intent_id) or world.find("setup_intent", intent_id)
    if intent is None:
        abort(404)
    world.follow_clock_of(world.find("customer", intent["customer"]))
    return intent


@blueprint.get("/<intent_id>")
def show(intent_id: str) -> Any:
    """Ask the cardholder, or go on when there is nothing to ask any more."""
    with access.world() as world:
        intent = _intent(world, intent_id)
        if intent["status"] != "requires_action":
            return redirect(_onward(intent), 303)
        return page(world, intent)


def page(world: World, intent: Document) -> str:
    """Return the bank's page for an intent that waits for its cardholder."""
    method = world.find("payment_method", intent["payment_method"]) or {}
    amount = money(intent["amount"], intent["currency"]) if intent["object"] == "payment_intent" else ""
    return render_template("checkout/challenge.html", shop=SHOP, card=method.get("card", {}), amount=amount)


@blueprint.post("/<intent_id>")
def answer(intent_id: str) -> Any:
    """Carry on as the pressed button says, and go to where the intent returns to."""

    def act(world: World) -> None:
        intent = _intent(world, intent_id)
        if intent["status"] == "requires_action":
            respond(world, intent, passed=request.form.get("action") == "complete")

    access.perform(act)
    access.sandbox().run_due()
    with access.world() as world:
        return redirect(_onward(_intent(world, intent_id)), 303)


def respond(world: World, intent: Document, *, passed: bool) -> None:
    """Give a payment or setup intent its cardholder's answer; raises Stripe's card error."""
    if intent["object"] == "setup_intent":
        methods.answer_setup_challenge(world, intent, passed=passed)
    else:
        payments.answer_challenge(world, intent, passed=passed)


def _onward(intent: Document) -> str:
    """Return where the intent returns to, with the parameters that Stripe appends."""
    if not intent.get("_return_url"):
        return f"/dashboard/objects/{intent['id']}"
    kind = intent["object"]
    went = "succeeded" if intent["status"] in ("succeeded", "requires_capture", "processing") else "failed"
    added = {kind: intent["id"], f"{kind}_client_secret": intent["client_secret"], "redirect_status": went}
    parts = urllib.parse.urlsplit(intent["_return_url"])
    query = "&".join(filter(None, [parts.query, urllib.parse.urlencode(added)]))
    return urllib.parse.urlunsplit(parts._replace(query=query))
