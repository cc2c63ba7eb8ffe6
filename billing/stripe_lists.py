"""Stripe's lists page by page, and whether it knows an object: what a comparison of both sides asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from billing import errors, gateway

Json = dict[str, Any]


def list_page(what: str, params: Mapping[str, Any], *, after: str | None = None) -> list[Json]:
    """Fetch one page of a list, newest first; `what` is a plural such as `charges`, `after` the page before's last id.

    Raises StripeObjectMissing when that object is gone, and as gateway.call does.
    """
    wanted = {**params, "starting_after": after} if after else params
    return cast(list[Json], gateway.call(lambda c: _service(c, what).list(wanted))["data"])


def knows(what: str, stripe_id: str) -> bool:
    """Tell whether Stripe knows an object of a list; raises as gateway.call does."""
    try:
        gateway.call(lambda c: _service(c, what).retrieve(stripe_id))
    except errors.StripeObjectMissing:
        return False
    return True


def _service(client: Any, what: str) -> Any:
    return client.v1.checkout.sessions if what == "checkout_sessions" else getattr(client.v1, what)
