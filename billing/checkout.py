"""Start a hosted Checkout for something in the catalogue, and close what became of it.

The steps: write down the intent under the account's lock; make sure of the customer; ask Stripe for a session under
the intent's own key; write down its address. Killed between any two of them, the next click goes on where it stopped.
"""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

import clock
import database
import failpoints
from accounts.models import Account
from billing import access, catalog, customers, errors, gateway, metered_items, prices, trials
from billing.models import CheckoutIntent

Json = dict[str, Any]

OPEN_FOR = timedelta(hours=1)
# An open session this close to its end is not offered again: nobody could finish paying.
TOO_LATE = timedelta(minutes=10)


@dataclass(frozen=True)
class Offer:
    """What a person is about to buy, as the order page and Stripe need to know it."""

    price: catalog.Price
    mode: str
    trial_days: int


def describe(session: Session, account_id: int, price_key: str) -> Offer:
    """Return what a catalogue key stands for on this account; changes nothing.

    Raises catalog.UnknownOffer for a key that is not sold, AlreadySubscribed when a live subscription exists and the
    key is a plan's: that is a change of plan.
    """
    current = catalog.current()
    offer, price = current.for_sale(price_key), current.price(price_key)
    if isinstance(offer, catalog.Pack):
        return Offer(price, "payment", 0)
    if price.amount_cents == 0 or price.interval is None:
        raise catalog.UnknownOffer(price_key)
    live = access.subscription_of(session, account_id)
    if live is not None:
        raise errors.AlreadySubscribed(live.plan_key)
    trial_days = 0 if trials.has_used(session, account_id) else offer.trial_days
    return Offer(price, "subscription", trial_days)


def start(account_id: int, price_key: str, *, base_url: str, ui: str = "hosted", next_path: str | None = None) -> str:
    """Return the address where one catalogue key is paid: Stripe's hosted page, or ours with Stripe's form embedded.

    `next_path` is the page of this site that the return page offers to continue to; whoever passes it has made sure
    that it is one. An open session for the same thing is offered again; an open session for another plan is closed
    first, so that two tabs cannot buy two subscriptions. Raises what `describe` raises, AlreadyPaid when the
    subscription was paid a moment ago in another tab, CheckoutBusy when another plan was chosen at the same moment,
    PriceMissing, and errors.StripeError.
    """
    for blocker in database.write(_blockers, account_id, price_key, ui):
        _expire(blocker)
        failpoints.hit("checkout.unblocked")
    intent = database.write(_open_intent, account_id, price_key, ui, next_path)
    if intent.stripe_session_id is not None:
        if _is_still_open(intent):
            return str(intent.url)
        intent = database.write(_open_intent, account_id, price_key, ui, next_path)
    failpoints.hit("checkout.intent_committed")
    customer_id = customers.ensure(account_id)
    params = _session_params(intent, customer_id, _line_items(intent.price_key), base_url)
    try:
        answer = _create(intent, params)
    except errors.StripeObjectMissing:
        if not customers.retire_lost(account_id, customer_id):
            raise
        return start(account_id, price_key, base_url=base_url, ui=ui, next_path=next_path)
    if intent.ui == "embedded":
        answer["url"] = f"{base_url}/billing/pay/{intent.public_id}"
    failpoints.hit("checkout.session_made")
    if not database.write(_opened, intent.id, answer):
        # Another tab chose another plan while Stripe was asked: nobody may pay this session beside that one.
        with suppress(errors.StripeRefused):
            gateway.expire_checkout_session(answer["id"])
        raise errors.CheckoutBusy(price_key)
    failpoints.hit("checkout.committed")
    return str(answer["url"])


def close(session: Session, stripe_session: Json) -> None:
    """Write down that a session was completed or has expired; an unknown session changes nothing.

    A subscription's checkout stays open here until the subscription itself has been copied (`close_subscribed`): in
    between, nothing else would keep a second one from being sold.
    """
    is_bought_plan = stripe_session["mode"] == "subscription" and stripe_session["status"] == "complete"
    if stripe_session["status"] == "open" or is_bought_plan:
        return
    session.execute(
        update(CheckoutIntent)
        .where(CheckoutIntent.stripe_session_id == stripe_session["id"])
        .values(status=stripe_session["status"])
    )


def close_subscribed(session: Session, stripe_subscription: Json) -> None:
    """Write down that the checkout which made a subscription is complete."""
    public_id = (stripe_subscription.get("metadata") or {}).get("intent")
    session.execute(
        update(CheckoutIntent)
        .where(CheckoutIntent.public_id == public_id, CheckoutIntent.status.in_(("creating", "open")))
        .values(status="complete")
    )


def find_intent(session: Session, account_id: int, stripe_session_id: str) -> CheckoutIntent | None:
    """Find the account's own intent behind a session id; None for anybody else's."""
    query = select(CheckoutIntent).where(
        CheckoutIntent.stripe_session_id == stripe_session_id, CheckoutIntent.account_id == account_id
    )
    return session.scalars(query).first()


def find_own_intent(session: Session, account_id: int, public_id: str) -> CheckoutIntent | None:
    """Find the account's own intent by its public id; None for anybody else's."""
    query = select(CheckoutIntent).where(CheckoutIntent.public_id == public_id, CheckoutIntent.account_id == account_id)
    return session.scalars(query).first()


def client_secret(stripe_session_id: str) -> str | None:
    """Ask Stripe for what its script needs to show an embedded session; None when the session is not open any more.

    It is a secret between Stripe and this browser, so it is asked for each time and stored nowhere.
    """
    found = gateway.retrieve_checkout_session(stripe_session_id, quick=True)
    return found.get("client_secret") if found["status"] == "open" else None


def _blockers(session: Session, account_id: int, price_key: str, ui: str = "hosted") -> list[CheckoutIntent]:
    """List the open subscription checkouts that must be closed at Stripe before this one may open."""
    offer = _lock_and_describe(session, account_id, price_key)
    if offer.mode == "payment":
        return []
    return [i for i in _running(session, account_id, offer) if not _is_reusable(i, offer, ui)]


def _open_intent(session: Session, account_id: int, price_key: str, ui: str, next_path: str | None) -> CheckoutIntent:
    """Return the running intent for the same thing, or write down a new one."""
    offer = _lock_and_describe(session, account_id, price_key)
    running = _running(session, account_id, offer)
    reusable = [i for i in running if _is_reusable(i, offer, ui)]
    if reusable:
        reusable[-1].next_path = next_path  # where whoever clicked last wants to go
        return reusable[-1]
    if offer.mode == "subscription" and running:
        raise errors.CheckoutBusy(price_key)
    now = clock.now()
    intent = CheckoutIntent(
        public_id=secrets.token_hex(16),
        account_id=account_id,
        mode=offer.mode,
        price_key=price_key,
        trial_days=offer.trial_days,
        status="creating",
        ui=ui,
        next_path=next_path,
        created_at=now,
        expires_at=(now + OPEN_FOR).replace(microsecond=0),
    )
    session.add(intent)
    session.flush()
    failpoints.hit("checkout.intent_stored")
    return intent


def _lock_and_describe(session: Session, account_id: int, price_key: str) -> Offer:
    session.execute(select(Account.id).where(Account.id == account_id).with_for_update())
    return describe(session, account_id, price_key)


def _running(session: Session, account_id: int, offer: Offer) -> list[CheckoutIntent]:
    query = select(CheckoutIntent).where(
        CheckoutIntent.account_id == account_id,
        CheckoutIntent.mode == offer.mode,
        CheckoutIntent.status.in_(("creating", "open")),
    )
    return list(session.scalars(query.order_by(CheckoutIntent.id)))


def _is_reusable(intent: CheckoutIntent, offer: Offer, ui: str) -> bool:
    is_same = (intent.price_key, intent.trial_days, intent.ui) == (offer.price.key, offer.trial_days, ui)
    return is_same and intent.expires_at > clock.now() + TOO_LATE


def _expire(intent: CheckoutIntent) -> None:
    session_id = intent.stripe_session_id or database.write(_abandon, intent.id)
    if session_id is None:
        return
    try:
        status = gateway.expire_checkout_session(session_id)["status"]
    except errors.StripeRefused:
        # It was paid or ran out a moment ago: then the truth decides.
        status = gateway.retrieve_checkout_session(session_id)["status"]
    if status == "complete":
        raise errors.AlreadyPaid(session_id)
    failpoints.hit("checkout.expired")
    database.write(_set_status, intent.id, status)


def _is_still_open(intent: CheckoutIntent) -> bool:
    """Ask Stripe before offering a session again: it may have been paid while its webhook is still under way."""
    session_id = intent.stripe_session_id or ""
    status, customer_id = "expired", None
    with suppress(errors.StripeObjectMissing):  # a local Stripe that was reset has forgotten it
        found = gateway.retrieve_checkout_session(session_id, quick=True)
        status, customer_id = found["status"], found["customer"]
    if status == "open" and customer_id == database.write(_customer_of, intent.account_id):
        return True
    if status == "open":
        with suppress(errors.StripeRefused):  # its customer was deleted: nobody can pay it
            gateway.expire_checkout_session(session_id)
        status = "expired"
    if status == "complete" and intent.mode == "subscription":
        raise errors.AlreadyPaid(session_id)
    database.write(_set_status, intent.id, status)
    return False


def _customer_of(session: Session, account_id: int) -> str | None:
    return session.scalar(select(Account.stripe_customer_id).where(Account.id == account_id))


def _set_status(session: Session, intent_id: int, status: str) -> None:
    session.execute(update(CheckoutIntent).where(CheckoutIntent.id == intent_id).values(status=status))


def _abandon(session: Session, intent_id: int) -> str | None:
    """Give up an intent without a session; return the session's id when it got one since the intent was read.

    Whoever is still asking Stripe for that session learns of it in `_opened`, before its address reaches anybody.
    """
    session.execute(
        update(CheckoutIntent)
        .where(CheckoutIntent.id == intent_id, CheckoutIntent.stripe_session_id.is_(None))
        .values(status="failed")
    )
    return session.scalar(select(CheckoutIntent.stripe_session_id).where(CheckoutIntent.id == intent_id))


def _opened(session: Session, intent_id: int, stripe_session: Json) -> bool:
    """Write down an intent's session; return False when the intent was given up meanwhile."""
    running = update(CheckoutIntent).where(
        CheckoutIntent.id == intent_id, CheckoutIntent.status.in_(("creating", "open"))
    )
    opened = running.values(
        status=stripe_session["status"], stripe_session_id=stripe_session["id"], url=stripe_session["url"]
    )
    is_ours = session.execute(opened.returning(CheckoutIntent.id)).scalar_one_or_none() is not None
    failpoints.hit("checkout.session_saved")
    return is_ours


def _create(intent: CheckoutIntent, params: Json) -> Json:
    try:
        return gateway.create_checkout_session(params, idempotency_key=f"checkout:{intent.public_id}")
    except errors.StripeError as error:
        if error.code != "idempotency_key_in_use":
            # Stripe repeats an error of its own under the same key for a day: the next click asks under another one.
            # If there is a session after all, nobody has its address.
            database.write(_abandon, intent.id)
            failpoints.hit("checkout.abandoned")
        raise


def _line_items(price_key: str) -> list[Json]:
    """Return what a session sells: the price, and with a plan its prices by use.

    Checkout takes prices of one interval only; what is billed by another is added by billing/metered_items.py.
    """
    price = catalog.current().price(price_key)
    by_use = [metered for metered in metered_items.overages_of(price_key) if metered.interval == price.interval]
    plan_or_pack = {"price": prices.stripe_price_id(price_key), "quantity": 1}
    return [plan_or_pack, *({"price": prices.metered_price_id(metered.key)} for metered in by_use)]


def _session_params(intent: CheckoutIntent, customer_id: str, line_items: list[Json], base_url: str) -> Json:
    """Describe the session; deterministic for an intent, because its idempotency key must meet the same words again."""
    offer = catalog.current().offer(intent.price_key)
    metadata = {"intent": intent.public_id, "price_key": intent.price_key, "name": offer.name}
    if isinstance(offer, catalog.Pack):
        # What is promised now is what is granted, whatever the catalogue says by the time that it is paid.
        metadata["credits"] = str(offer.credits)
    params: Json = {
        "mode": intent.mode,
        "customer": customer_id,
        "client_reference_id": intent.public_id,
        "line_items": line_items,
        **_addresses(intent.ui, base_url),
        "expires_at": int(intent.expires_at.timestamp()),
        "allow_promotion_codes": catalog.current().policies.promotion_codes == "show",
        "tax_id_collection": {"enabled": True},
        "customer_update": {"name": "auto", "address": "auto"},  # tax ids of an existing customer need its name
        "metadata": metadata,
    }
    # Cards saved by a subscription or an earlier pack are offered again; Stripe shows none of them by default.
    params["saved_payment_method_options"] = {"allow_redisplay_filters": ["always", "limited", "unspecified"]}
    # Stripe copies a session's metadata nowhere: what is made from it needs its own.
    if intent.mode == "payment":
        # The next pack is bought with this card by one click; Stripe's page says that it is saved for that.
        params["payment_intent_data"] = {"metadata": metadata, "setup_future_usage": "off_session"}
        return params
    params["subscription_data"] = {"metadata": {**metadata, **metered_items.promise(intent.price_key)}}
    if intent.trial_days:
        params["subscription_data"]["trial_period_days"] = intent.trial_days
        params["custom_text"] = {"submit": {"message": trials.TERMS}}
        if isinstance(offer, catalog.Plan) and offer.is_trial_without_card:
            params["payment_method_collection"] = "if_required"
        # A trial whose card is gone ends without a charge that could only fail.
        params["subscription_data"]["trial_settings"] = {"end_behavior": {"missing_payment_method": "cancel"}}
    return params


def _addresses(ui: str, base_url: str) -> Json:
    back = f"{base_url}/billing/success?session_id={{CHECKOUT_SESSION_ID}}"
    if ui == "embedded":
        return {"ui_mode": "embedded_page", "return_url": back}
    return {"success_url": back, "cancel_url": f"{base_url}/pricing"}
