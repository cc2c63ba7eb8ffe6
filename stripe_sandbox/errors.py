"""Stripe's errors: their shapes, codes and words."""

from __future__ import annotations

from typing import Any

# How Stripe names a resource in "No such ...": mostly its object name, with these exceptions.
SPOKEN = {"payment_method": "PaymentMethod", "setup_intent": "setupintent", "promotion_code": "promotion code"}


class StripeError(Exception):
    """An answer other than success, as the API gives it.

    `keep` says that what the request did before failing stays done: a declined card leaves its failed charge and its
    events behind. Everything else that fails changes nothing.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        type: str = "invalid_request_error",  # noqa: A002 - Stripe's word
        code: str | None = None,
        param: str | None = None,
        keep: bool = False,
        headers: dict[str, str] | None = None,
        **facts: Any,
    ) -> None:
        super().__init__(message)
        self.status, self.type, self.code, self.param = status, type, code, param
        self.message, self.keep, self.facts, self.headers = message, keep, facts, headers or {}

    def body(self, request_log_url: str | None = None) -> dict[str, Any]:
        """Return the JSON body that Stripe would send."""
        error: dict[str, Any] = {}
        if self.code:
            error["code"] = self.code
            error["doc_url"] = f"https://stripe.com/docs/error-codes/{self.code.replace('_', '-')}"
        error["message"] = self.message
        if self.param:
            error["param"] = self.param
        if request_log_url:
            error["request_log_url"] = request_log_url
        error["type"] = self.type
        error.update({name: value for name, value in self.facts.items() if value is not None})
        return {"error": error}


def invalid(message: str, param: str | None = None, *, code: str | None = None) -> StripeError:
    """A request that Stripe refuses, in its words."""
    return StripeError(message, param=param, code=code)


def no_such(kind: str, wanted: str, *, param: str | None = None) -> StripeError:
    """A resource that does not exist: 404 when the address names it, 400 when a parameter does."""
    message = f"No such {SPOKEN.get(kind, kind)}: '{wanted}'"
    status = 404 if param in (None, "id") else 400
    return StripeError(message, status=status, code="resource_missing", param=param or "id")


def parameter_missing(param: str) -> StripeError:
    return StripeError(f"Missing required param: {param}.", code="parameter_missing", param=param)


def parameter_unknown(params: list[str], nearest: str | None = None) -> StripeError:
    if len(params) > 1:
        message = f"Received unknown parameters: {', '.join(params)}"
    else:
        message = f"Received unknown parameter: {params[0]}" + (f". Did you mean {nearest}?" if nearest else "")
    return StripeError(message, code="parameter_unknown", param=params[0])


def parameter_empty(param: str) -> StripeError:
    message = (
        f"You passed an empty string for '{param}'. We assume empty values are an attempt to unset a parameter; "
        f"however '{param}' cannot be unset. You should remove '{param}' from your request or supply a non-empty "
        "value."
    )
    return StripeError(message, code="parameter_invalid_empty", param=param)


def parameters_exclusive(first: str, second: str) -> StripeError:
    message = f"You may only specify one of these parameters: {first}, {second}."
    return StripeError(message, code="parameters_exclusive", param=first)


def already_exists(kind: str, wanted: str) -> StripeError:
    return StripeError(f"{kind.capitalize()} already exists.", code="resource_already_exists", param="id")


def unrecognised(method: str, path: str) -> StripeError:
    message = (
        f"Unrecognized request URL ({method}: {path}). Please see https://stripe.com/docs or we can help at "
        "https://support.stripe.com/."
    )
    return StripeError(message, status=404)


def not_implemented(method: str, path: str) -> StripeError:
    """A route that Stripe has and the sandbox does not: said plainly, so that nobody looks for the mistake at home."""
    message = f"Unrecognized request URL ({method}: {path}). Stripe has this route; the sandbox does not implement it."
    return StripeError(message, status=404)


def card_error(
    message: str, *, code: str, decline_code: str | None = None, keep: bool = True, **facts: Any
) -> StripeError:
    """A card that was refused; what the attempt left behind is kept."""
    return StripeError(message, status=402, type="card_error", code=code, decline_code=decline_code, keep=keep, **facts)
