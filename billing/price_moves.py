"""Move subscribers from an old amount to the one that their plan costs today, and tell them before.

A push of the catalogue leaves everybody at their price; this is for whoever decides otherwise. A move is written down
together with its mail before Stripe is asked, Stripe is told under keys made of the move, and then the move is stamped.
Whatever is killed in between, the next run goes on there: nobody is told twice, and nothing is planned twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

import clock
import database
import failpoints
from accounts import people
from billing import access, catalog, errors, gateway, pending, plan_changes, prices, subscriptions, sync_queue
from billing.doctor_words import Told
from billing.errors import BillingError
from billing.models import PriceMove, Status, Subscription
from billing.money import in_words
from billing.periods import add_months
from billing.plan_changes import When
from billing.subscriptions import instant
from extensions import db
from mail import links, outbox
from mail.preparing import NotNeeded, Prepared, prepares

Json = dict[str, Any]

MONTHS = {"month": 1, "year": 12}
LATE = timedelta(hours=1)
STAYS = {
    Status.TRIALING: "is on trial: run this again when it is over",
    Status.PAST_DUE: "owes a payment",
    Status.UNPAID: "owes a payment",
    Status.PAUSED: "is paused: run this again when it goes on",
    Status.INCOMPLETE: "waits for its first payment",
}


class Stays(BillingError):
    """The subscription cannot be moved now, or needs no move; the text says why."""


class NotAMove(BillingError):
    """What was asked for is no move that may be made; the text says what to do instead."""


@dataclass(frozen=True)
class Candidate:
    """A subscriber of an old price: what a period costs now and at the present price, in cents."""

    account_id: int
    email: str
    stripe_subscription_id: str
    price: catalog.Price
    to_stripe_price_id: str
    from_cents: int
    to_cents: int


@dataclass(frozen=True)
class Preview:
    """When the present price begins for a subscriber, and what Stripe will charge for a period then, in cents.

    `next_cents` has the subscriber's discounts in it; `from_stripe_price_id` is what the subscription has at Stripe.
    """

    candidate: Candidate
    when: When
    takes_effect_at: datetime
    next_cents: int
    from_stripe_price_id: str


def candidates(plan_key: str, when: When) -> list[Candidate]:
    """List the live subscribers of a plan who pay another amount than it costs today, the oldest first.

    Raises UnknownOffer, PriceMissing when a price was not pushed, errors.StripeError, and NotAMove when somebody would
    pay more from now on: what is paid for already does not become dearer.
    """
    present = {
        price.key: (price, prices.stripe_price_id(price.key))
        for price in catalog.current().plan(plan_key).prices
        if not price.is_metered
    }
    session = db.session()
    mine = (Subscription.plan_key == plan_key, Subscription.is_primary, Subscription.stripe_status.in_(access.LIVE))
    rows = session.scalars(select(Subscription).where(*mine).order_by(Subscription.started_at, Subscription.stripe_id))
    found = [
        Candidate(
            account_id=row.account_id,
            email=people.owner_email(session, row.account_id),
            stripe_subscription_id=row.stripe_id,
            price=present[row.price_key][0],
            to_stripe_price_id=present[row.price_key][1],
            from_cents=row.amount_cents,
            to_cents=present[row.price_key][0].amount_cents * row.quantity,
        )
        for row in rows
        if row.price_key in present
        and row.amount_cents is not None
        and row.stripe_price_id != present[row.price_key][1]
    ]
    if when is When.NOW and any(one.to_cents > one.from_cents for one in found):
        raise NotAMove("a higher price begins with a renewal, after a notice: move them at the period's end")
    return found


def preview(candidate: Candidate, when: When, *, notice: timedelta) -> Preview:
    """Look at one subscriber at Stripe and work out when and what; changes nothing.

    At the period's end means the first one that leaves the customer the notice. Raises Stays and errors.StripeError.
    """
    fresh = gateway.retrieve_subscription(candidate.stripe_subscription_id)
    reason = _why_it_stays(fresh, candidate)
    if reason:
        raise Stays(reason)
    begun = _unfinished(db.session(), candidate)
    at = begun.takes_effect_at if begun is not None else clock.now()
    if when is When.AT_PERIOD_END:
        earliest = at if begun is not None else at + notice
        at = _period_end_after(fresh, earliest, months=MONTHS[str(candidate.price.interval)])
    whole = plan_changes.whole_period(fresh, candidate.to_stripe_price_id, from_period_end=when is When.AT_PERIOD_END)
    return Preview(candidate, when, at, whole["total"], subscriptions.plan_item(fresh)["price"]["id"])


def carry_out(previewed: Preview) -> None:
    """Tell the customer, then Stripe; safe to repeat and to interrupt. Raises errors.StripeError."""
    move_id, key = database.write(_announce, previewed)
    failpoints.hit("price_move.announced")
    try:
        _make(previewed, key)
    except errors.StripeUnreachable:
        raise  # whether Stripe acted is not known, so it is asked again under the same key
    except errors.StripeError:
        database.write(_give_another_key, move_id)  # Stripe repeats the answer of a key for a day, errors too
        raise
    failpoints.hit("price_move.made")
    database.write(_stamp, move_id, previewed.candidate.stripe_subscription_id)


def _make(previewed: Preview, key: str) -> None:
    candidate = previewed.candidate
    if previewed.when is When.NOW:
        fresh = gateway.retrieve_subscription(candidate.stripe_subscription_id)
        params: Json = {
            "items": [plan_changes.plan_swap(subscriptions.plan_item(fresh), candidate.to_stripe_price_id)],
            "proration_behavior": "always_invoice",  # the rest of what was paid becomes the customer's balance at once
        }
        gateway.update_subscription(candidate.stripe_subscription_id, params, idempotency_key=key)
    else:
        plan_changes.plan_price(
            candidate.stripe_subscription_id,
            candidate.price,
            candidate.to_stripe_price_id,
            key=key,
            until=int(previewed.takes_effect_at.timestamp()),
        )


def settle(candidate: Candidate) -> None:
    """Stamp the moves of a subscription that Stripe has already, after a run that was killed."""
    database.write(_stamp_all, candidate)


@prepares("price_change")
def prepare_price_change(session: Session, mail: Prepared) -> Prepared:
    """Say what the plan will cost and from when; raise NotNeeded when the plan has ended or changed meanwhile."""
    move = session.get_one(PriceMove, mail.context["move_id"])
    row = session.get_one(Subscription, move.stripe_subscription_id)
    if row.stripe_status not in access.LIVE or row.cancels_at is not None or row.price_key != move.price_key:
        raise NotNeeded("the plan ends, has ended, or is another one now")
    interval = catalog.current().price(move.price_key).interval
    facts = {
        "plan": catalog.current().plan(str(row.plan_key)).name,
        "before": f"{in_words(move.from_cents, move.currency)} a {interval}",
        "after": f"{in_words(move.to_cents, move.currency)} a {interval}",
        "takes_effect_at": move.takes_effect_at,
        "is_at_once": move.is_at_once,
        "is_higher": move.to_cents > move.from_cents,
        "billing_url": links.to("billing.index"),
    }
    return Prepared(mail.template, mail.to, {**mail.context, **facts})


def unfinished(session: Session) -> Iterator[Told]:
    """Find who was told of a new price that Stripe does not have, or was given up since: what the doctor asks."""
    newest = select(func.max(PriceMove.id)).group_by(PriceMove.stripe_subscription_id)
    live = Subscription.stripe_status.in_(access.LIVE) & Subscription.cancels_at.is_(None)
    rows = session.execute(
        select(PriceMove, Subscription)
        .join(Subscription, Subscription.stripe_id == PriceMove.stripe_subscription_id)
        .where(PriceMove.id.in_(newest), live, Subscription.stripe_price_id == PriceMove.from_stripe_price_id)
    )
    for move, row in rows:
        was_interrupted = move.made_at is None and move.announced_at < clock.now() - LATE
        was_given_up = move.made_at is not None and move.takes_effect_at < row.synced_at - LATE
        if was_interrupted or was_given_up:
            yield (
                f"account {move.account_id} was told that {move.price_key} costs "
                f"{in_words(move.to_cents, move.currency)} from {move.takes_effect_at:%d %B %Y}, and pays "
                f"{in_words(move.from_cents, move.currency)}",
                f"Run `flask catalog move-subscribers {row.plan_key}` again: it goes on where it was interrupted, and "
                "plans anew what a pause or a cancellation gave up.",
            )


def _why_it_stays(fresh: Json, candidate: Candidate) -> str | None:
    if fresh["status"] != Status.ACTIVE:
        return STAYS.get(fresh["status"], f"is {fresh['status']}")
    if subscriptions.plan_item(fresh)["price"]["id"] == candidate.to_stripe_price_id:
        return "has the present price"
    if fresh.get("cancel_at") or fresh.get("cancel_at_period_end"):
        return "ends by itself"
    if fresh.get("pending_update"):
        return "waits for the payment of a change"
    planned = [item["price"] for phase in _coming_phases(fresh) for item in phase["items"]]
    if candidate.to_stripe_price_id in {price["id"] for price in planned}:
        return "is moved already"
    # A move to an amount that was changed once more is simply made anew.
    is_own_choice = pending.price_of_plan(planned) not in (None, candidate.price)
    return "is planned to change by the customer's own choice" if is_own_choice else None


def is_made(stays: Stays) -> bool:
    """Tell whether a subscription stays because Stripe has the move already."""
    return str(stays) in {"has the present price", "is moved already"}


def _coming_phases(fresh: Json) -> list[Json]:
    schedule = fresh.get("schedule") or {}
    now = clock.now().timestamp()
    return [phase for phase in schedule.get("phases", []) if phase["start_date"] > now]


def _period_end_after(fresh: Json, earliest: datetime, *, months: int) -> datetime:
    """Return the first end of a period, at or after the present one's, that is not before an instant."""
    ends_at = instant(subscriptions.plan_item(fresh)["current_period_end"])
    anchor = instant(fresh["billing_cycle_anchor"])
    if ends_at is None or anchor is None:
        raise Stays("has no period")
    count = 0
    while (at := add_months(anchor, count * months)) < max(ends_at, earliest):
        count += 1
    return at


def _unfinished(session: Session, candidate: Candidate) -> PriceMove | None:
    return session.scalar(select(PriceMove).where(*_of(candidate), PriceMove.made_at.is_(None)))


def _of(candidate: Candidate) -> tuple[Any, ...]:
    mine = PriceMove.stripe_subscription_id == candidate.stripe_subscription_id
    return mine, PriceMove.to_stripe_price_id == candidate.to_stripe_price_id


def _announce(session: Session, previewed: Preview) -> tuple[int, str]:
    """Write a move down with its mail, or take up the one that is there; return its id and the key to make it by."""
    candidate = previewed.candidate
    people.lock_account(session, candidate.account_id)
    known = (PriceMove.made_at.is_(None)) | (PriceMove.takes_effect_at == previewed.takes_effect_at)
    move = session.scalar(select(PriceMove).where(*_of(candidate), known).order_by(PriceMove.id.desc()))
    if move is None:
        move = PriceMove(
            account_id=candidate.account_id,
            stripe_subscription_id=candidate.stripe_subscription_id,
            price_key=candidate.price.key,
            from_stripe_price_id=previewed.from_stripe_price_id,
            to_stripe_price_id=candidate.to_stripe_price_id,
            from_cents=candidate.from_cents,
            to_cents=candidate.to_cents,
            currency=candidate.price.currency,
            takes_effect_at=previewed.takes_effect_at,
            is_at_once=previewed.when is When.NOW,
            attempt=1,
            announced_at=clock.now(),
        )
        session.add(move)
        session.flush()
        _promise_mail(session, candidate, move)
    elif move.made_at is not None:
        # It was made, and the customer has given it up at Stripe since, by cancelling and resuming: under another key.
        move.attempt, move.made_at = move.attempt + 1, None
    move.takes_effect_at = previewed.takes_effect_at
    session.flush()
    failpoints.hit("price_move.stored")
    second = int(move.takes_effect_at.timestamp())
    return move.id, f"price-move:{move.stripe_subscription_id}:{move.to_stripe_price_id}:{second}:{move.attempt}"


def _promise_mail(session: Session, candidate: Candidate, move: PriceMove) -> None:
    outbox.queue(
        session,
        "price_change",
        to=candidate.email,
        context={"move_id": move.id},
        dedupe_key=f"price-move:{move.id}",
        account_id=candidate.account_id,
    )


def _give_another_key(session: Session, move_id: int) -> None:
    session.execute(update(PriceMove).where(PriceMove.id == move_id).values(attempt=PriceMove.attempt + 1))


def _stamp(session: Session, move_id: int, stripe_subscription_id: str) -> None:
    session.execute(update(PriceMove).where(PriceMove.id == move_id).values(made_at=clock.now()))
    sync_queue.mark_dirty(session, "subscription", stripe_subscription_id)


def _stamp_all(session: Session, candidate: Candidate) -> None:
    waiting = update(PriceMove).where(*_of(candidate), PriceMove.made_at.is_(None))
    session.execute(waiting.values(made_at=clock.now()))
    sync_queue.mark_dirty(session, "subscription", candidate.stripe_subscription_id)
