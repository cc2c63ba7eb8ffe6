"""What can go wrong with money, as facts; web/errors.py turns them into pages and problem+json."""

from __future__ import annotations


class BillingError(Exception):
    """A refusal or failure of billing; `status` is the HTTP status that fits it."""

    status = 400


class UnverifiedWebhook(BillingError):
    """A webhook whose sender cannot be proved to be Stripe, or whose body is no event."""

    status = 400


class ForeignSignature(UnverifiedWebhook):
    """A webhook that looks like Stripe's and is signed with no secret of ours: a stranger's, or our secret is wrong."""


class AlreadySubscribed(BillingError):
    """The account has a live subscription; changing it is not a second checkout."""

    status = 409

    def __init__(self, plan_key: str | None) -> None:
        super().__init__(f"already subscribed to {plan_key}")
        self.plan_key = plan_key


class AlreadyPaid(BillingError):
    """The subscription was paid a moment ago in another tab; the return page tells what came of it."""

    status = 409

    def __init__(self, stripe_session_id: str) -> None:
        super().__init__(f"{stripe_session_id} has been paid")
        self.stripe_session_id = stripe_session_id


class CheckoutBusy(BillingError):
    """Two checkouts of different plans were opened at the same moment; trying again sorts it out."""

    status = 409


class OfferChanged(BillingError):
    """The saved card or the price is another one than the button said; nothing was charged."""

    status = 409


class FormUsed(BillingError):
    """The one-time number of this form has bought something else already."""

    status = 409


class BoughtJustNow(BillingError):
    """The same pack was bought by a click a moment ago, and this click does not say that it knows."""

    status = 409

    def __init__(self, top_up_id: str) -> None:
        super().__init__(f"the top-up {top_up_id} bought the same a moment ago")
        self.top_up_id = top_up_id


class CodeTaken(BillingError):
    """There is a credit code of this name already."""

    status = 409

    def __init__(self, code: str) -> None:
        super().__init__(f"there is a code {code} already")
        self.code = code


class CodeRefused(BillingError):
    """A credit code gives nothing: it is `unknown`, `used` by this account, `expired`, or `gone`, its cap reached."""

    status = 422

    def __init__(self, reason: str) -> None:
        super().__init__(f"the code is {reason}")
        self.reason = reason


class NoCustomer(BillingError):
    """The account has never bought anything, so Stripe has nothing to show for it."""

    status = 409


class PriceMissing(BillingError):
    """The catalogue sells a price that Stripe does not know; `flask catalog push` makes it."""

    status = 503

    def __init__(self, lookup_key: str) -> None:
        super().__init__(f"Stripe knows no active price with the lookup key {lookup_key}: run `flask catalog push`")
        self.lookup_key = lookup_key


class PriceChanged(PriceMissing):
    """Stripe sells this at another amount than the pages say: the catalogue was pushed and the app not restarted."""


class StripeError(BillingError):
    """Stripe refused or could not be reached; the message is for the log, never for a customer.

    `is_passing` says that the same request may succeed later without anybody changing it, and `retry_after` after how
    many seconds at the earliest. `request_id` is what Stripe's support asks for.
    """

    status = 502
    is_passing = False
    retry_after = 0.0

    def __init__(self, message: str, *, code: str | None = None, request_id: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.request_id = request_id


class StripeUnavailable(StripeError):
    """Stripe answered with an error of its own, or is busy with the same object: trying later helps."""

    status = 503
    is_passing = True


class StripeUnreachable(StripeUnavailable):
    """The request or its answer was lost on the way: it may have been carried out, so it is repeated under its key."""


class StripeBusy(StripeUnavailable):
    """Stripe asks us to slow down, or we do so by ourselves: nothing was carried out."""

    def __init__(
        self, message: str, *, code: str | None = None, request_id: str | None = None, retry_after: float = 0.0
    ) -> None:
        super().__init__(message, code=code, request_id=request_id)
        self.retry_after = retry_after


class StripeKeyRefused(StripeError):
    """Stripe refuses our key, or what it may do: nothing works until somebody mends the settings."""

    status = 503
    is_passing = True


class StripeRefused(StripeError):
    """Stripe understood the request and refused it: trying the same again will not help."""


class StripeObjectMissing(StripeRefused):
    """Stripe knows no such object: it was deleted, or belongs to another account or mode."""


class CardDeclined(StripeRefused):
    """The card was declined; `user_message` is Stripe's wording for the customer.

    `payment_intent_id` names the payment that was made and not let through, if one was.
    """

    status = 402

    def __init__(
        self,
        message: str,
        *,
        user_message: str,
        code: str | None,
        request_id: str | None,
        payment_intent_id: str | None = None,
    ) -> None:
        super().__init__(message, code=code, request_id=request_id)
        self.user_message = user_message
        self.payment_intent_id = payment_intent_id


class PlanRequired(BillingError):
    """The account's plan does not hold this; `plans` are the keys of those that do, none when nothing sold does."""

    status = 402

    def __init__(self, plans: tuple[str, ...], *, feature: str | None = None) -> None:
        super().__init__(f"{feature or 'this'} comes with {', '.join(plans) or 'no plan'}")
        self.plans = plans
        self.feature = feature


class LimitReached(BillingError):
    """The plan's limit is used up, or leaves less than what is `wanted`: `used` of `allowed`."""

    status = 402

    def __init__(self, limit: str, *, used: int, allowed: int, wanted: int = 1) -> None:
        super().__init__(f"{used} of {allowed} {limit} are used, and {wanted} more are wanted")
        self.limit = limit
        self.used = used
        self.allowed = allowed
        self.wanted = wanted


class UsageCapReached(LimitReached):
    """The customer's own cap leaves no room for this; `used` of `allowed`, what is included among it."""


class TeamClosed(BillingError):
    """The account's plan lets nobody but its owner act for it; `owner` is whom to ask."""

    status = 403

    def __init__(self, owner: str) -> None:
        super().__init__("the account's plan no longer holds members")
        self.owner = owner


class TeamFull(BillingError):
    """All seats of the account are taken; `owner` is whom to ask."""

    status = 409

    def __init__(self, owner: str) -> None:
        super().__init__("all seats of the account are taken")
        self.owner = owner
