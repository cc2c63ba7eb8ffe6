"""The table of what every kind of error says: status, title, text, facts for programs, and where to go to solve it.

web/errors.py gives the answers; a product adds the rows of its own errors with `errors.add`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from accounts.models import OWNER
from billing import catalog, limits
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
    """What one kind of error says. `kind` names it for programs; `text` and `facts` are made of the error.

    `challenge` tells a program how to sign in, as RFC 9110 wants it beside a 401.
    """

    status: int
    kind: str
    title: str
    text: Callable[[Any], str]
    facts: Callable[[Any], Mapping[str, Any]] = field(default=_no_facts)
    action: Action | None = None
    sends_on: bool = False
    challenge: str | None = None
    about: str = ""


HOME = Action("Go to the start page", ("pages.index",))
SEE_PLANS = Action("See plans and credits", ("pricing.index",), returns=True)
LOG_IN = Action("Log in", ("auth.login",), returns=True)
GIVE_PASSWORD = Action("Give my password", ("auth.confirm_password",), returns=True)
VERIFY = Action("Send me a link", ("auth.forgot_password",))
SEE_USAGE = Action("See your usage and cap", ("billing.usage_page", "billing.index"))
SEE_KEYS = Action("See your API keys", ("api_keys.index",))
SEE_BILLING = Action("Go to billing", ("billing.index",))
SEE_ACCOUNTS = Action("Choose an account", ("team.accounts", "dashboard.index"))
SEE_DASHBOARD = Action("Go to the dashboard", ("dashboard.index",))


def _plan_words(error: billing_errors.PlanRequired) -> str:
    listed = _listed_plans(error.plans)
    feature = next((f.name for f in catalog.current().features if f.key == error.feature), None)
    return f"{feature or 'This'} comes with {listed}." if listed else "None of the plans on sale holds this."


def _api_words(error: refusals.ApiClosed) -> str:
    listed = _listed_plans(error.plans)
    if not listed:
        return "The key is good, but none of the plans on sale opens the API. Nothing was done."
    return f"The key is good, but the API comes with {listed}. Nothing was done; it works as soon as the plan does."


def _role_words(error: refusals.RoleRequired) -> str:
    if error.wanted == OWNER:
        return f"You do not own this account. Ask {error.owner}, to whom it is billed; nothing was changed."
    return f"You use this account as a member. Ask {error.owner}, or an admin of the team; nothing was changed."


def _listed_plans(keys: tuple[str, ...]) -> str:
    names = [catalog.current().plan(key).name for key in keys]
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)


def _limit_words(error: billing_errors.LimitReached) -> str:
    roomy = [plan.name for plan in limits.plans_with_room(error.limit, error.used, error.wanted)]
    hint = f"{roomy[0]} has room for more." if roomy else "Write to us if you need more."
    what = error.limit.replace("_", " ")
    if 0 <= error.used < error.allowed:
        left = error.allowed - error.used
        return f"This takes {error.wanted:,} {what}, and {left:,} of {error.allowed:,} are left. {hint}"
    return f"You use {error.used:,} of {error.allowed:,} {what}. {hint}"


def _limit_facts(error: billing_errors.LimitReached) -> dict[str, Any]:
    return {"limit": error.limit, "used": error.used, "allowed": error.allowed, "wanted": error.wanted}


def _keys_with_room(error: billing_errors.LimitReached) -> list[str]:
    return [plan.key for plan in limits.plans_with_room(error.limit, error.used, error.wanted)]


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
        challenge='Bearer realm="api"',
        about="Nobody is signed in, or the session has ended.",
    ),
    refusals.KeyRefused: Answer(
        401,
        "key-refused",
        "This API key opens nothing",
        _says("It is unknown or revoked, or belongs to somebody who left. Send one that is live as a Bearer token."),
        action=SEE_KEYS,
        challenge='Bearer realm="api", error="invalid_token"',
        about="The key in the header Authorization is unknown or revoked. Nothing was done.",
    ),
    refusals.ApiClosed: Answer(
        403,
        "api-closed",
        "Your plan does not open the API",
        _api_words,
        lambda e: {"feature": "api", "plans": list(e.plans)},
        SEE_PLANS,
        about="The key is good, but the account's plan has no API; `plans` are the keys of those that have.",
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
    refusals.RoleRequired: Answer(
        403,
        "role-required",
        "The owner takes care of this",
        _role_words,
        lambda e: {"owner": e.owner},
        SEE_DASHBOARD,
        about="This is for the account's owner, or for its owner and admins; the person has a lesser role.",
    ),
    refusals.PasswordRequired: Answer(
        403,
        "password-required",
        "Give your password again",
        _says(
            "You gave it more than half an hour ago, and this is not for whoever finds your browser open. Nothing was "
            "changed; you come back to this page."
        ),
        action=GIVE_PASSWORD,
        sends_on=True,
        about="The password was given too long ago for this, or by a program, which gives none.",
    ),
    refusals.AccountLost: Answer(
        409,
        "account-lost",
        "You no longer belong to that team",
        _says("Nothing was done and nothing was charged. You act for your own account from now on."),
        action=SEE_ACCOUNTS,
        about="The person acted for an account that they do not belong to any more. Nothing was done.",
    ),
    billing_errors.TeamClosed: Answer(
        403,
        "team-closed",
        "This team is closed for now",
        lambda e: (
            f"The plan of this team no longer holds members. Ask {e.owner} to choose one that does; your place in the "
            "team is kept, and your own account works as ever."
        ),
        lambda e: {"owner": e.owner},
        SEE_ACCOUNTS,
        sends_on=True,
        about="The account's plan lets nobody but its owner act for it.",
    ),
    billing_errors.TeamFull: Answer(
        409,
        "team-full",
        "All seats of this team are taken",
        lambda e: f"Ask {e.owner} to make room. The invitation stays, so you can come back to it.",
        lambda e: {"owner": e.owner},
        SEE_ACCOUNTS,
        about="The plan has no seat for one more member.",
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
    billing_errors.UsageCapReached: Answer(
        402,
        "usage-cap-reached",
        "Your cap is reached",
        lambda e: (
            f"You use {e.used:,} of the {e.allowed:,} {e.limit} that your plan and your own cap allow this month, and "
            f"this takes {e.wanted:,}. Raise the cap and go on at once, or wait for the next period."
        ),
        _limit_facts,
        SEE_USAGE,
        sends_on=True,
        about="The cap that the customer set for use beyond the plan leaves no room: `used` of `allowed`.",
    ),
    billing_errors.LimitReached: Answer(
        402,
        "limit-reached",
        "Your plan's limit is reached",
        _limit_words,
        lambda e: {**_limit_facts(e), "plans": _keys_with_room(e)},
        SEE_PLANS,
        sends_on=True,
        about="The plan's limit is used up: `used` of `allowed`; `plans` are the keys of those that have room.",
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
        about="Spending is paused, for instance while a payment is disputed; `reason` says why.",
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
    billing_errors.FormUsed: Answer(
        409,
        "form-used",
        "This form has been used",
        _says("It has bought something already, once. Open the page again to buy something else."),
        action=SEE_BILLING,
        about="The one-time number of this form belongs to another purchase.",
    ),
    billing_errors.UnverifiedWebhook: Answer(
        400,
        "unverified-webhook",
        "This webhook cannot be verified",
        _says("Its signature, its time or its body is not what Stripe sends. Nothing was stored."),
        about="The request cannot be proved to come from Stripe.",
    ),
    billing_errors.StripeUnreachable: Answer(
        503,
        "payments-unreachable",
        "Payments cannot be reached right now",
        _says("Our payment provider does not answer. Look at your billing page in a minute: nothing is charged twice."),
        action=SEE_BILLING,
        about="The payment provider did not answer: whether it acted shows later. Send it again under the same key.",
    ),
    billing_errors.StripeBusy: Answer(
        503,
        "payments-busy",
        "Payments are busy right now",
        _says("Many people are paying at this moment. Nothing was charged; please try again in a few seconds."),
        about="Too many requests to the payment provider. Nothing was done; try again after Retry-After.",
    ),
    billing_errors.StripeUnavailable: Answer(
        503,
        "payments-unavailable",
        "Payments are not available right now",
        _says("Our payment provider has trouble. Look at your billing page in a minute: nothing is charged twice."),
        action=SEE_BILLING,
        about="The payment provider failed. Try again later under the same key.",
    ),
    billing_errors.StripeKeyRefused: Answer(
        503,
        "payments-not-set-up",
        "Payments are out of order",
        _says("This is our mistake and we have been told. Nothing was charged; your plan and credits stay."),
        action=HOME,
        about="The site's own key is refused by the payment provider. Nothing was done.",
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
        _says("Nothing was charged, and trying again will not help: write to us with the number below."),
        about="The payment provider understood the request and refused it. Nothing was done.",
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

# A form whose token does not fit the session: whoever logs in or out in one tab leaves such forms open in the others.
STALE_FORM = (
    "This form is out of date",
    "You have logged in or out since it was opened, or your browser keeps no cookies, so nothing was done. Go back, "
    "copy what you have typed, and open the page again.",
)

# Titles and texts of what has no error class of ours; a view's own words, abort(400, "..."), come first.
HTTP_ANSWERS: dict[int, tuple[str, str]] = {
    400: ("This request is not complete", "Something in it is missing or malformed. Open the page again and retry."),
    403: ("This is not open to you", "Your account may not do this."),
    404: ("There is no such page", "The address may be old or mistyped, or the page belongs to another account."),
    405: ("This page cannot do that", "Open it from the site's menu instead."),
    409: ("Something changed meanwhile", "Open the page again to see how things are now."),
    413: ("This is too large", "Send less at once: a request may hold one megabyte, unless its page says more."),
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
