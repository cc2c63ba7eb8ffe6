"""What can go wrong with money, as facts; web/errors.py turns them into pages and problem+json."""

from __future__ import annotations


class BillingError(Exception):
    """A refusal or failure of billing; `status` is the HTTP status that fits it."""

    status = 400


class UnverifiedWebhook(BillingError):
    """A webhook whose sender cannot be proved to be Stripe, or whose body is no event."""

    status = 400


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
    """Stripe refused or could not be reached; the message is for the log, never for a customer."""

    status = 502

    def __init__(self, message: str, *, code: str | None = None, request_id: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.request_id = request_id


class StripeUnavailable(StripeError):
    """Stripe did not answer, answered with a server error, or asked us to slow down: trying later may help."""

    status = 503


class StripeRefused(StripeError):
    """Stripe understood the request and refused it: trying the same again will not help."""


class StripeObjectMissing(StripeRefused):
    """Stripe knows no such object: it was deleted, or belongs to another account or mode."""


class CardDeclined(StripeRefused):
    """The card was declined; `user_message` is Stripe's wording for the customer."""

    status = 402

    def __init__(self, message: str, *, user_message: str, code: str | None, request_id: str | None) -> None:
        super().__init__(message, code=code, request_id=request_id)
        self.user_message = user_message


class PlanRequired(BillingError):
    """The account's plan does not hold this; `plans` are the keys of those that do, none when nothing sold does."""

    status = 402

    def __init__(self, plans: tuple[str, ...], *, feature: str | None = None) -> None:
        super().__init__(f"{feature or 'this'} comes with {', '.join(plans) or 'no plan'}")
        self.plans = plans
        self.feature = feature


class LimitReached(BillingError):
    """The plan's limit is used up: `used` of `allowed`."""

    status = 402

    def __init__(self, limit: str, *, used: int, allowed: int) -> None:
        super().__init__(f"{used} of {allowed} {limit} are used")
        self.limit = limit
        self.used = used
        self.allowed = allowed
