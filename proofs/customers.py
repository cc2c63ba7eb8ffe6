"""People who buy, change their minds and quarrel with their banks: the evolving side of Stripe, by a seed.

They act through the SDK, Stripe's own checkout page and the app's `checkout.start`, in this process or over HTTP.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import stripe

import clock
import database
from accounts import people
from billing import checkout, errors
from ledger import spending
from ledger.errors import LedgerError

CARD = "4242424242424242"
DISPUTED_CARD = "4000000000000259"
REFUND_FAILS_CARD = "4000000000005126"
DECLINED_CARD = "4000000000000002"
PACKS = ("credits_5", "credits_12", "credits_30", "credits_100")
PLANS = ("basic_monthly", "pro_monthly", "team_monthly")

Pay = Callable[[str, str], object]


class Declined(Exception):
    """The hosted page did not let a payment through."""


@dataclass
class Crowd:
    """So many accounts and what they do next; `did` counts it."""

    client: stripe.StripeClient
    pay: Pay
    chance: random.Random
    accounts: list[int] = field(default_factory=list)
    sessions: list[str] = field(default_factory=list)
    did: dict[str, int] = field(default_factory=dict)
    is_spending: bool = True

    def join(self, count: int) -> None:
        """Sign up so many people more."""
        first = len(self.accounts)
        self.accounts += [database.write(_sign_up, f"person{first + number}@example.com") for number in range(count)]

    def act(self) -> int:
        """Let somebody do something and return whose account it was; what the app or Stripe refuses is left undone."""
        account_id = self.chance.choice(self.accounts)
        weights = {
            self.buy_pack: 6,
            self.subscribe: 4,
            self.change_plan: 4,
            self.cancel_or_resume: 4,
            self.cancel_now: 1,
            self.refund: 4,
            self.answer_dispute: 2,
            self.spend: 2 if self.is_spending else 0,
        }
        (action,) = self.chance.choices(list(weights), list(weights.values()))
        try:
            done = action(account_id)
        except (errors.BillingError, LedgerError, stripe.InvalidRequestError, Declined):
            done = "refused"
        if done:
            self.did[done] = self.did.get(done, 0) + 1
        return account_id

    def buy_pack(self, account_id: int) -> str:
        card = self.chance.choice([CARD, CARD, CARD, DISPUTED_CARD, REFUND_FAILS_CARD, DECLINED_CARD])
        self.buy(account_id, self.chance.choice(PACKS), card)
        return "pack"

    def subscribe(self, account_id: int) -> str:
        self.buy(account_id, self.chance.choice(PLANS[:2]), CARD)
        return "subscription"

    def buy(self, account_id: int, price_key: str, card: str) -> None:
        """Go through the checkout for one catalogue key; raises Declined, and what `checkout.start` raises."""
        url = checkout.start(account_id, price_key, base_url="http://127.0.0.1:5000")
        self.sessions.append(url.rstrip("/").rsplit("/", 1)[-1])
        self.pay(url, card)

    def change_plan(self, _account_id: int) -> str | None:
        subscription = self.live_subscription()
        if subscription is None:
            return None
        price = self.chance.choice(sorted(self._plan_prices().items()))[1]
        change: Any = {
            "items": [{"id": subscription["items"]["data"][0]["id"], "price": price}],
            "proration_behavior": "always_invoice",
        }
        self.client.v1.subscriptions.update(subscription["id"], change)
        return "change of plan"

    def cancel_or_resume(self, _account_id: int) -> str | None:
        subscription = self.live_subscription()
        if subscription is None:
            return None
        self.toggle(subscription["id"])
        return "cancel or resume"

    def upgrade(self, subscription_id: str) -> None:
        """Move a subscription to the dearest plan at once."""
        item = self.client.v1.subscription_items.list({"subscription": subscription_id}).data[0]
        price_id = self._plan_prices()[PLANS[-1]]
        change: Any = {"items": [{"id": item.id, "price": price_id}], "proration_behavior": "always_invoice"}
        self.client.v1.subscriptions.update(subscription_id, change)

    def toggle(self, subscription_id: str) -> None:
        """Cancel a subscription at its period's end, or resume it when that has been done."""
        is_ending = self.client.v1.subscriptions.retrieve(subscription_id).cancel_at_period_end
        self.client.v1.subscriptions.update(subscription_id, {"cancel_at_period_end": not is_ending})

    def cancel_now(self, _account_id: int) -> str | None:
        subscription = self.live_subscription()
        if subscription is None:
            return None
        self.client.v1.subscriptions.cancel(subscription["id"])
        return "cancel now"

    def refund(self, _account_id: int) -> str | None:
        charges = self.client.v1.charges.list({"limit": 20}).data
        open_ones = [c for c in charges if c.status == "succeeded" and not c.disputed and not c.refunded]
        if not open_ones:
            return None
        charge = self.chance.choice(open_ones)
        left = charge.amount - charge.amount_refunded
        amount = self.chance.choice([left, min(left, 137), min(left, 250)])
        self.client.v1.refunds.create({"charge": charge.id, "amount": amount})
        return "refund"

    def answer_dispute(self, _account_id: int) -> str | None:
        waiting = [d for d in self.client.v1.disputes.list({"limit": 20}).data if d.status == "needs_response"]
        if not waiting:
            return None
        dispute = self.chance.choice(waiting)
        if self.chance.random() < 0.3:
            self.client.v1.disputes.close(dispute.id)
            return "dispute accepted"
        words = self.chance.choice(["winning_evidence", "losing_evidence"])
        self.client.v1.disputes.update(dispute.id, {"evidence": {"uncategorized_text": words}, "submit": True})
        return "dispute answered"

    def spend(self, account_id: int) -> str:
        key = f"spend:{self.chance.random()}"
        database.write(spending.spend, account_id, self.chance.randint(1, 10), idempotency_key=key, reason="CV check")
        return "spend"

    def live_subscription(self) -> dict[str, Any] | None:
        """Return any subscription that is active, or None."""
        active = self.client.v1.subscriptions.list({"limit": 20, "status": "active"}).data
        return self.chance.choice(active).to_dict() if active else None

    def _plan_prices(self) -> dict[str, str]:
        """Return Stripe's price of each plan by its catalogue key."""
        listed = self.client.v1.prices.list({"limit": 100, "active": True, "type": "recurring"}).data
        found = {p.to_dict()["metadata"].get("price_key"): p.id for p in listed}
        return {key: found[key] for key in PLANS}


def _sign_up(session: database.Session, email: str) -> int:
    user = people.create_user(session, email=email, password_hash=None, confirmed_at=clock.now())
    return people.personal_account(session, user.id).id
