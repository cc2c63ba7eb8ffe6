"""The table of what every kind of error says: status, title, text, facts for programs, and where to go to solve it.

web/errors.py gives the answers; a product adds the rows of its own errors with `errors.add`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from billing import catalog
from billing import errors as billing_errors
from ledger import errors as ledger_errors
from web import refusals


@dataclass(frozen=True)
class Action:
    """The next step: a link to the first of these pages that the site has. `returns` brings the visitor back after."""

    label: str
    endpoints: tuple[str, ...]
    returns: bool = False


def _no_facts(_error: Any) -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class Answer:
    """What one kind of error says. `kind` names it for programs; `text` and `facts` are made of the error."""

    status: int
    kind: str
    title: str
    text: Callable[[Any], str]
    facts: Callable[[Any], Mapping[str, Any]] = field(default=_no_facts)
    action: Action | None = None
    sends_on: bool = False
    about: str = ""


HOME = Action("Go to the start page", ("pages.index",))
SEE_PLANS = Action("See plans and credits", ("pricing.index",), returns=True)
LOG_IN = Action("Log in", ("auth.login",), returns=True)
VERIFY = Action("Send me a link", ("auth.forgot_password",))
SEE_BILLING = Action("Go to billing", ("billing.index",))


def _plan_words(error: billing_errors.PlanRequired) -> str:
    names = [catalog.current().plan(key).name for key in error.plans]
    feature = next((f.name for f in catalog.current().features if f.key == error.feature), None)
    if not names:
        return "None of the plans on sale holds this."
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    return f"{feature or 'This'} comes with {listed}."


def _credits(count: int) -> str:
    return f"{count:,} credit{'' if count == 1 else 's'}"


def _says(words: str) -> Callable[[Any], str]:
    return lambda _error: words


ANSWERS: dict[type[Exception], Answer] = {
    refusals.LoginRequired: Answer(
        401,
        "login-required",
        "Log in to go on",
        _says("This page is for people who are signed in."),
        action=LOG_IN,
        sends_on=True,
        about="Nobody is signed in, or the session has ended.",
    ),
    refusals.VerificationRequired: Answer(
        403,
        "verification-required",
        "Confirm your e-mail address first",
        _says("We sent you a mail with a link. Open it once, then this page is yours."),
        action=VERIFY,
        sends_on=True,
        about="The signed-in person has not confirmed their e-mail address yet.",
    ),
    billing_errors.PlanRequired: Answer(
        402,
        "plan-required",
        "This comes with another plan",
        _plan_words,
        lambda e: {"feature": e.feature, "plans": list(e.plans)},
        SEE_PLANS,
        sends_on=True,
        about="The account's plan does not hold this; `plans` are the keys of those that do.",
    ),
    billing_errors.LimitReached: Answer(
        402,
        "limit-reached",
        "Your plan's limit is reached",
        lambda e: f"You use {e.used:,} of {e.allowed:,} {e.limit}. A larger plan has room for more.",
        lambda e: {"limit": e.limit, "used": e.used, "allowed": e.allowed},
        SEE_PLANS,
        sends_on=True,
        about="The plan's limit is used up: `used` of `allowed`.",
    ),
    ledger_errors.NotEnoughCredits: Answer(
        402,
        "not-enough-credits",
        "You need more credits",
        lambda e: f"This costs {_credits(e.needed)} and you have {e.balance:,}. Nothing was charged.",
        lambda e: {"needed": e.needed, "balance": e.balance},
        SEE_PLANS,
        sends_on=True,
        about="The balance does not cover the cost. Nothing was charged.",
    ),
    ledger_errors.WalletFrozen: Answer(
        403,
        "spending-paused",
        "Your credits are paused",
        lambda e: f"{e.reason.rstrip('.')}. Nothing was charged.",
        lambda e: {"reason": e.reason},
        SEE_BILLING,
        about="Spending is paused while a payment is disputed.",
    ),
    ledger_errors.IdempotencyConflict: Answer(
        409,
        "key-used-before",
        "This was sent before with other contents",
        _says("Open the form again and send it once more. Nothing was charged a second time."),
        about="The idempotency key was used before for another request: send a new key.",
    ),
    ledger_errors.LedgerError: Answer(
        409,
        "credits-changed",
        "Your credits changed meanwhile",
        _says("Look at your balance and try again. Nothing was charged."),
        about="The operation does not fit the state of the credits. Nothing was changed.",
    ),
    billing_errors.AlreadySubscribed: Answer(
        409,
        "already-subscribed",
        "You have a subscription already",
        _says("You can change its plan instead; a second one would charge you twice."),
        lambda e: {"plan": e.plan_key},
        SEE_BILLING,
        about="The account has a live subscription: change it instead of buying a second one.",
    ),
    billing_errors.NoCustomer: Answer(
        409,
        "nothing-bought",
        "There is nothing to manage yet",
        _says("Cards and invoices appear here after your first purchase."),
        action=SEE_PLANS,
        about="The account has never bought anything.",
    ),
    billing_errors.CardDeclined: Answer(
        402,
        "card-declined",
        "The card was declined",
        lambda e: f"{e.user_message} Nothing was charged.",
        action=SEE_BILLING,
        about="The card was declined. Nothing was charged.",
    ),
    billing_errors.UnverifiedWebhook: Answer(
        400,
        "unverified-webhook",
        "This webhook cannot be verified",
        _says("Its signature, its time or its body is not what Stripe sends. Nothing was stored."),
        about="The request cannot be proved to come from Stripe.",
    ),
    billing_errors.StripeUnavailable: Answer(
        503,
        "payments-unavailable",
        "Payments are not available right now",
        _says("Our payment provider does not answer. Nothing was charged; please try again in a minute."),
        about="The payment provider does not answer. Try again later.",
    ),
    billing_errors.PriceChanged: Answer(
        503,
        "amount-changed",
        "Its price is being changed",
        _says("The amount you were shown is about to change. Nothing was charged; look again in a minute."),
        action=SEE_PLANS,
        about="The price at the payment provider is not the one that was shown.",
    ),
    billing_errors.PriceMissing: Answer(
        503,
        "price-missing",
        "This cannot be bought right now",
        _says("Its price is not set up yet. Nothing was charged; we have been told."),
        action=HOME,
        about="The price is not set up at the payment provider.",
    ),
    billing_errors.StripeError: Answer(
        502,
        "payments-refused",
        "Our payment provider refused this",
        _says("Nothing was charged. Please try again, or write to us with the number below."),
        about="The payment provider refused the request.",
    ),
    billing_errors.BillingError: Answer(
        409,
        "billing-refused",
        "This does not work right now",
        _says("Your billing has changed meanwhile. Look at it and try again; nothing was charged."),
        action=SEE_BILLING,
        about="The operation does not fit the state of the account's billing.",
    ),
    catalog.UnknownOffer: Answer(
        404,
        "unknown-offer",
        "This is not on sale",
        _says("It may have been replaced. The pricing page shows everything there is."),
        action=SEE_PLANS,
        about="The catalogue sells nothing under this key.",
    ),
}

# Titles and texts of what has no error class of ours; a view's own words, abort(400, "..."), come first.
HTTP_ANSWERS: dict[int, tuple[str, str]] = {
    400: ("This request is not complete", "Something in it is missing or malformed. Open the page again and retry."),
    403: ("This is not open to you", "Your account may not do this."),
    404: ("There is no such page", "The address may be old or mistyped, or the page belongs to another account."),
    405: ("This page cannot do that", "Open it from the site's menu instead."),
    409: ("Something changed meanwhile", "Open the page again to see how things are now."),
    413: ("This is too large", "Send less at once: the whole request may hold one megabyte."),
    415: ("This kind of content is not understood", "Send JSON with the header Content-Type: application/json."),
    422: ("This cannot be used", "Look at what you sent and change it."),
    429: ("That was a little too fast", "Wait a moment, then try again."),
    500: ("This went wrong on our side", "We have been told. Nothing was charged; please try again."),
    502: ("A service we need did not answer well", "Please try again in a minute."),
    503: (
        "We are away for a moment",
        "Our database does not answer. Nothing was charged; please try again in a minute.",
    ),
}
