"""The states of an account's subscription as its owner meets them: what each opens, and every way out of it.

One table for the pages, the documents and the tests: docs/billing.md shows it, and tests walk each of its steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from billing.models import Status, Subscription


class State(StrEnum):
    """Where an account stands with its subscription."""

    FREE = "free"
    INCOMPLETE = "incomplete"
    TRIALING = "trialing"
    ACTIVE = "active"
    ENDING = "ending"
    PAST_DUE = "past_due"
    UNPAID = "unpaid"
    PAUSED = "paused"
    ENDED = "ended"


class Way(StrEnum):
    """What the owner can do on the billing page."""

    CHOOSE = "choose a plan"
    CHANGE = "change the plan"
    PAUSE = "pause"
    GO_ON = "go on"
    CANCEL = "cancel at the period's end"
    RESUME = "resume"
    CANCEL_NOW = "cancel now"
    PAY = "pay the invoice"
    CARD = "update the card"


@dataclass(frozen=True)
class Rule:
    """One row of the table: Stripe's words for it, what is open meanwhile, and the ways out."""

    at_stripe: str
    opens: str
    ways: tuple[Way, ...]


RULES: dict[State, Rule] = {
    State.FREE: Rule("no subscription", "the free plan", (Way.CHOOSE,)),
    State.INCOMPLETE: Rule(
        "`incomplete`: the first payment is not through", "the free plan", (Way.PAY, Way.CARD, Way.CANCEL_NOW)
    ),
    State.TRIALING: Rule("`trialing`", "the plan", (Way.CHANGE, Way.CARD, Way.CANCEL, Way.CANCEL_NOW)),
    State.ACTIVE: Rule("`active`", "the plan", (Way.CHANGE, Way.CARD, Way.PAUSE, Way.CANCEL, Way.CANCEL_NOW)),
    State.ENDING: Rule(
        "`trialing` or `active`, with `cancel_at` or `cancel_at_period_end`",
        "the plan, until its last day",
        (Way.RESUME, Way.CARD, Way.CANCEL_NOW),
    ),
    State.PAST_DUE: Rule(
        "`past_due`",
        "the plan, for `past_due_grace_days` after the invoice fell due; then the free plan",
        (Way.PAY, Way.CARD, Way.CANCEL, Way.CANCEL_NOW),
    ),
    State.UNPAID: Rule("`unpaid`: no attempt is left", "the free plan", (Way.PAY, Way.CARD, Way.CANCEL_NOW)),
    State.PAUSED: Rule(
        "`paused`", "the plan, until what was paid for ends; then the free plan", (Way.GO_ON, Way.CARD, Way.CANCEL_NOW)
    ),
    State.ENDED: Rule("`canceled` or `incomplete_expired`", "the free plan", (Way.CHOOSE,)),
}

# Every step from one state to another, and what brings it about.
STEPS: tuple[tuple[State, State, str], ...] = (
    (State.FREE, State.TRIALING, "a plan with a trial is chosen"),
    (State.FREE, State.ACTIVE, "a plan is chosen and paid"),
    (State.FREE, State.INCOMPLETE, "the first payment does not go through"),
    (State.INCOMPLETE, State.ACTIVE, "the first invoice is paid"),
    (State.INCOMPLETE, State.ENDED, "23 hours pass"),
    (State.TRIALING, State.ACTIVE, "the trial ends and the card pays"),
    (State.TRIALING, State.PAST_DUE, "the trial ends and the card is declined"),
    (State.TRIALING, State.ENDED, "the trial ends without a card"),
    (State.TRIALING, State.ENDING, "cancel"),
    (State.ACTIVE, State.ENDING, "cancel"),
    (State.ACTIVE, State.PAUSED, "pause"),
    (State.ACTIVE, State.PAST_DUE, "a renewal is declined"),
    (State.ACTIVE, State.ENDED, "cancel now"),
    (State.ENDING, State.ACTIVE, "resume"),
    (State.ENDING, State.TRIALING, "resume in a trial"),
    (State.ENDING, State.ENDED, "the last day comes"),
    (State.PAUSED, State.ACTIVE, "go on"),
    (State.PAUSED, State.ENDED, "cancel now"),
    (State.PAST_DUE, State.ACTIVE, "the invoice is paid"),
    (State.PAST_DUE, State.ENDED, "the last attempt fails"),
    (State.PAST_DUE, State.UNPAID, "the last attempt fails, with Stripe set to keep it"),
    (State.UNPAID, State.ACTIVE, "the invoice is paid"),
    (State.UNPAID, State.ENDED, "cancel now"),
    (State.ENDED, State.ACTIVE, "a plan is chosen and paid"),
)

_BY_STATUS: dict[str, State] = {
    Status.INCOMPLETE: State.INCOMPLETE,
    Status.TRIALING: State.TRIALING,
    Status.ACTIVE: State.ACTIVE,
    Status.PAST_DUE: State.PAST_DUE,
    Status.UNPAID: State.UNPAID,
    Status.PAUSED: State.PAUSED,
}


def state_of(subscription: Subscription | None) -> State:
    """Return where an account stands by the subscription that pages speak of; a status nobody knows counts as ended."""
    if subscription is None:
        return State.FREE
    state = _BY_STATUS.get(subscription.stripe_status, State.ENDED)
    if state in (State.TRIALING, State.ACTIVE) and subscription.cancels_at is not None:
        return State.ENDING
    return state
