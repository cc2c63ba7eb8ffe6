"""People with a plan, their cards, and what they do on Stripe's pages, for the stories of a subscription's life."""

from __future__ import annotations

from billing import access, states, subscriptions
from billing.models import Subscription
from billing.states import State
from extensions import db
from jobs import worker
from tests.billing.forms import submit
from tests.persons import Person, log_in_again, sign_up
from tests.worlds import Clock, Stripe

GOOD, DECLINES, CHALLENGES = "pm_card_visa", "pm_card_chargeCustomerFail", "pm_card_authenticationRequired"
A_MONTH = {"days": 31, "hours": 2}


def subscriber(stripe: Stripe, price_key: str = "pro_monthly", card: str | None = None) -> Person:
    """Make a person who has bought a plan, with a card for the renewals that behaves as told."""
    ann = sign_up(stripe.app)
    stripe.pay(ann.checkout(price_key))
    stripe.settle()
    if card is not None:
        put_card(stripe, card)
    return ann


def put_card(stripe: Stripe, card: str) -> None:
    """Have the newest subscription charged to another card, as somebody does in Stripe's dashboard."""
    subscription = stripe.sandbox_object("subscription")
    method = stripe.api.v1.payment_methods.attach(card, {"customer": subscription["customer"]})
    stripe.api.v1.subscriptions.update(subscription["id"], {"default_payment_method": method.id})
    stripe.settle()


def subscription(ann: Person) -> Subscription:
    """Return the subscription that pages speak of."""
    with ann.app.app_context():
        found = subscriptions.latest(db.session(), ann.account_id)
        assert found is not None
        return found


def state(ann: Person) -> State:
    """Return where the account stands."""
    with ann.app.app_context():
        return states.state_of(subscriptions.latest(db.session(), ann.account_id))


def plan(ann: Person) -> str:
    """Return the key of the plan whose features are open."""
    with ann.app.app_context():
        return access.plan_of(db.session(), ann.account_id).key


def billing_page(ann: Person, path: str = "/billing") -> str:
    """Return what a page says now."""
    log_in_again(ann)
    answer = ann.client.get(path)
    assert answer.status_code == 200, (path, answer.status_code, answer.location)
    return str(answer.get_data(as_text=True))


def open_portal(ann: Person, flow: str | None = None) -> str:
    """Go to the portal by the billing page's button; return its address."""
    answer = submit(ann, "/billing", "/billing/portal", **({"flow": flow} if flow else {}))
    assert answer.status_code == 303
    return str(answer.location)


def update_card_in_portal(stripe: Stripe, ann: Person, number: str = "4242424242424242") -> str:
    """Enter a new card on the portal's own page; return where that leads."""
    home = open_portal(ann, "payment_method_update").partition("/p/")[2]
    browser = stripe.sandbox.browser()
    card = {"card_number": number, "card_expiry": "11 / 35", "card_cvc": "123", "billing_name": "Ann Example"}
    answer = browser.post(f"/p/{home}/cards/add", data=card)
    assert answer.status_code == 303, answer.get_data(as_text=True)
    return str(answer.location)


def pass_time(
    stripe: Stripe, clock: Clock, ann: Person, *, order: str = "as_is", times: int = 2, **parts: float
) -> None:
    """Let time pass, Stripe tell of it, and the worker do its rounds."""
    clock.advance(**parts)
    stripe.settle(order=order, times=times)
    with stripe.app.app_context():
        worker.grant_due_allowances()
    log_in_again(ann)
