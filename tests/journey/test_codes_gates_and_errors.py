"""What stands between a person and a purchase: a gate, a code, a limit, and every error that Stripe answers with."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import expect

from billing import entitlements, errors, gateway, pacing
from billing.promotions import Promotion
from extensions import db
from stripe_sandbox import api as sandbox_api
from stripe_sandbox.errors import StripeError as SandboxError
from tests.billing.subscribers import CHALLENGES, put_card
from tests.journey.test_the_life_of_a_subscription import Visitor, shop, visit
from tests.worlds import Stripe

__all__ = ["shop", "visit"]

pytestmark = pytest.mark.browser

HALF = Promotion("half", "HALFOFF", "Half of the first month", percent_off=50, max_uses=1)


@pytest.fixture
def impatience(shop: Stripe) -> list[float]:
    """The pauses that the app takes from Stripe, in a time that only waiting moves."""
    waited = [0.0]
    shop.app.extensions["stripe.pace"] = pacing.Pace(0, now=lambda: sum(waited), sleep=waited.append)
    return waited


def refuse_the_key(_: object) -> None:
    raise SandboxError("Invalid API Key provided: sk_test_****.", status=401)


def refuse_the_request(*_: object, **__: object) -> None:
    raise errors.StripeRefused("no such price", code="parameter_invalid", request_id="req_77")


@pytest.mark.parametrize("shop", [("cv", (HALF,))], indirect=True)
def test_every_error_of_stripe_then_a_gate_a_code_and_a_decline(
    visit: Any, shop: Stripe, impatience: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    ann: Visitor = visit(script=True)

    def buy() -> None:
        ann.page.goto(f"{ann.url}/pricing")
        ann.page.get_by_role("button", name=re.compile("Buy 5 credits")).click()

    def answers(title: str, *words: str) -> None:
        expect(ann.page.get_by_role("heading", level=1)).to_have_text(title)
        for some in words:
            ann.reads(some)
        ann.check()

    # Whatever Stripe answers has words of its own, with a number to write to us about.
    for fault, title, words in (
        ("unreachable", "Payments cannot be reached right now", "nothing is charged twice"),
        ("500", "Payments are not available right now", "has trouble"),
        ("429", "Payments are busy right now", "try again in a few seconds"),
    ):
        shop.sandbox.break_api(fault)
        buy()
        answers(title, words, "name the request")
        shop.sandbox.heal()
        impatience.append(60.0)
    with monkeypatch.context() as broken:
        broken.setattr(sandbox_api, "authenticate", refuse_the_key)
        buy()
        answers("Payments are out of order", "our mistake")
    with monkeypatch.context() as broken:
        broken.setattr(gateway, "create_checkout_session", refuse_the_request)
        buy()
        answers("Our payment provider refused this", "trying again will not help")
    assert (ann.ann.balance(), shop.api.v1.charges.list({}).data) == (3, [])

    # A gate leads to the plans that have the feature; a code halves the first month.
    ann.open("/cv/history")
    ann.reads("History comes with Basic, Pro and Team.")
    ann.press("Choose Basic")
    ann.page.get_by_label("Promotion code").fill("NOSUCHCODE")
    ann.page.get_by_role("button", name="Apply").click()
    ann.reads("This code is invalid.")
    ann.page.get_by_label("Promotion code").fill("HALFOFF")
    ann.page.get_by_role("button", name="Apply").click()
    ann.reads("$7.50")
    ann.give_card("4242 4242 4242 4242")
    ann.page.get_by_role("button", name="Subscribe").click()
    ann.reads("Thank you")
    ann.open("/billing/invoices")
    ann.reads("$7.50")
    ann.open("/billing")
    ann.reads("for $15.00")
    assert ann.ann.balance() == 3 + 20
    ann.page.goto(f"{ann.url}/cv/history")
    expect(ann.page.locator("body")).not_to_contain_text("comes with")
    with shop.app.app_context():
        assert list(entitlements.differences(db.session())) == []

    # A card that is declined says what its bank says, and leads on.
    ann.open("/billing")
    ann.update_card("4000 0000 0000 0341")
    ann.open("/billing")
    ann.page.get_by_role("button", name="Buy 5 credits - $5.00").click()
    ann.reads("Your bank declined the payment")
    ann.reads("$5.00 could not be charged")
    ann.check()
    assert ann.ann.balance() == 3 + 20

    # A bank that wants to see its customer at the renewal: every page leads to Stripe's, and all is well again.
    put_card(shop, CHALLENGES)
    ann.pass_time(days=31, hours=2)
    ann.open("/dashboard")
    ann.reads("Your bank wants you to confirm")
    ann.check()
    ann.page.get_by_role("link", name=re.compile("Confirm")).first.click()
    ann.page.get_by_role("button", name=re.compile("Pay")).click()
    ann.page.get_by_role("button", name="Complete").click()
    ann.open("/dashboard")
    expect(ann.page.locator("body")).not_to_contain_text("Your bank wants you to confirm")
