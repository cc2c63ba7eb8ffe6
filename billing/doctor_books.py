"""What the doctor asks the database alone: do the books agree with themselves, does the work go on?

Each check yields what is wrong and what to do; the invariants that it holds are named beside it in CHECKS.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta

from flask import current_app
from sqlalchemy import exists, func, or_, select
from sqlalchemy.orm import Session

import clock
from accounts.models import Account, FormerCustomer
from billing import access, catalog, pulse, returned, subscriptions, sync_queue
from billing.address_errands import AddressErrand
from billing.doctor_words import Check, Told
from billing.models import (
    CheckoutIntent,
    Invoice,
    Payment,
    PlanGrant,
    StripeEvent,
    StripeObject,
    Subscription,
    SyncTask,
)
from config import Config
from ledger import invariants
from ledger.models import Bucket, Hold, HoldStatus
from mail.models import Email

LATE = timedelta(seconds=60)
QUIET = timedelta(seconds=90)
# Some twenty minutes of them.
MANY_ATTEMPTS = 10
LEDGER_REMEDIES = {
    "I5": "Somebody wrote into the journal: compare it with the last good backup before anything else is sold.",
    "I18": "Make the trigger again (ledger/append_only.py), then compare the journal with the last good backup.",
}
LEDGER_REMEDY = "Stop spending for that account, keep the database as it is, and compare with the last good backup."


def _ledger(session: Session) -> Iterator[Told]:
    for violation in invariants.violations(session):
        yield violation, LEDGER_REMEDIES.get(violation.split()[0], LEDGER_REMEDY)


def _paid_but_not_granted(session: Session) -> Iterator[Told]:
    query = (
        select(Payment.stripe_charge_id)
        .outerjoin(Bucket, (Bucket.account_id == Payment.account_id) & (Bucket.source == Payment.grant_source))
        .where(Payment.grant_source.is_not(None), Bucket.id.is_(None))
    )
    for charge_id in session.scalars(query):
        yield f"{charge_id} was paid and its credits were never granted", f"flask webhooks replay {charge_id}"


def _granted_twice(session: Session) -> Iterator[Told]:
    query = (
        select(Bucket.payment_ref, func.count())
        .where(Bucket.kind == "purchase", Bucket.payment_ref.is_not(None))
        .group_by(Bucket.payment_ref)
        .having(func.count() > 1)
    )
    for payment, count in session.execute(query):
        yield (
            f"{payment} was granted {count} times",
            "Take the surplus out in the back office.",
        )


def _grants_of_plans(session: Session) -> Iterator[Told]:
    query = (
        select(PlanGrant.source)
        .outerjoin(Bucket, (Bucket.account_id == PlanGrant.account_id) & (Bucket.source == PlanGrant.source))
        .where(PlanGrant.credits > 0, Bucket.id.is_(None))
    )
    for source in session.scalars(query):
        yield f"{source} counts as granted and is not in the ledger", "Restore the ledger from the backup that has it."


def _taken_back(session: Session) -> Iterator[Told]:
    """Look at every grant whose payment went back, or of which credits were taken back."""
    went_back = or_(Payment.refunded_cents > 0, Payment.dispute_status.is_not(None))
    follow = {
        (payment.account_id, source)
        for payment in session.scalars(select(Payment).where(went_back))
        for source in returned.sources_of(session, payment)
    }
    follow |= {
        (invoice.account_id, source)
        for invoice in session.scalars(select(Invoice).where(Invoice.credited_cents > 0))
        for source in returned.sources_of_invoice(session, invoice.account_id, invoice.stripe_id)
    }
    clawed_ones = select(Bucket.account_id, Bucket.source).where(Bucket.clawed > 0)
    follow |= {(row.account_id, row.source) for row in session.execute(clawed_ones)}
    for account_id, source in sorted(follow):
        found = select(Bucket.granted, Bucket.clawed).where(Bucket.account_id == account_id, Bucket.source == source)
        granted, clawed = session.execute(found).one_or_none() or (0, 0)
        target = returned.credits_of(session, account_id, source, granted=granted, more={})
        if clawed != target:
            yield (
                f"{clawed} of the {granted} credits of {source} are taken back, where its payments ask for {target}",
                "Have the charge looked at again: flask webhooks replay ch_...",
            )


def _periods(session: Session) -> Iterator[Told]:
    """Look at the periods that run now and were granted in parts: an upgrade fills up and never adds."""
    query = (
        select(PlanGrant.stripe_subscription_id, PlanGrant.ends_at)
        .where(PlanGrant.stripe_subscription_id.is_not(None), PlanGrant.ends_at > clock.now())
        .group_by(PlanGrant.stripe_subscription_id, PlanGrant.ends_at)
        .having(func.count() > 1)
    )
    plans = {plan.key: plan.credits for plan in catalog.current().plans}
    for subscription_id, ends_at in session.execute(query).all():
        parts = select(PlanGrant).where(
            PlanGrant.stripe_subscription_id == subscription_id, PlanGrant.ends_at == ends_at
        )
        grants = session.scalars(parts).all()
        row = session.get(Subscription, subscription_id)
        best = max((plans.get(grant.plan_key, grant.credits) for grant in grants), default=0)
        granted, allowed = sum(grant.credits for grant in grants), best * (row.quantity if row else 1)
        allowed = max(allowed, sum(brings for _, brings in _plans_of(session, str(subscription_id))))
        if granted > allowed:
            yield (
                f"{subscription_id} was granted {granted} credits for the period to {ends_at:%d %B}, {allowed} at most",
                "Take the surplus out in the back office, and find out how it came about.",
            )


def _several_plans(session: Session) -> Iterator[Told]:
    live = select(Subscription).where(Subscription.stripe_status.in_(access.LIVE), Subscription.amount_cents.is_(None))
    for row in session.scalars(live.order_by(Subscription.stripe_id)):
        plans = _plans_of(session, row.stripe_id)
        if len(plans) > 1:
            names = " and ".join(name for name, _ in plans)
            yield (
                f"{row.stripe_id} of account {row.account_id} is billed for {names} together: it opens {row.plan_key}, "
                "and each renewal brings the credits of all",
                "Take all but one item off it at Stripe, and refund or credit what the customer did not mean to buy.",
            )


def _plans_of(session: Session, stripe_id: str) -> list[tuple[str, int]]:
    """Return the plans that a subscription is billed for, by name, with the credits that each brings a period."""
    kept = session.get(StripeObject, ("subscription", stripe_id))
    if kept is None:
        return []
    found = []
    for item in subscriptions.plan_items(json.loads(kept.body)):
        offer = catalog.current().offer(subscriptions.price_key_of(item["price"]) or "")
        found.append((offer.name, offer.credits * (item.get("quantity") or 1)))
    return found


def _trials(session: Session) -> Iterator[Told]:
    query = (
        select(PlanGrant.account_id, func.count(func.distinct(PlanGrant.stripe_subscription_id)))
        .join(Bucket, (Bucket.account_id == PlanGrant.account_id) & (Bucket.source == PlanGrant.source))
        .where(Bucket.kind == "trial")
        .group_by(PlanGrant.account_id)
        .having(func.count(func.distinct(PlanGrant.stripe_subscription_id)) > 1)
    )
    for account_id, count in session.execute(query):
        yield f"account {account_id} has had {count} trials", "End the later one at Stripe, without a refund."


def _second_subscriptions(session: Session) -> Iterator[Told]:
    query = (
        select(Subscription.account_id, func.count())
        .where(Subscription.stripe_status.in_(access.LIVE))
        .group_by(Subscription.account_id)
        .having(func.count() > 1)
    )
    for account_id, count in session.execute(query):
        yield f"account {account_id} has {count} live subscriptions", "Cancel and refund the newer one at Stripe."


def _no_primary(session: Session) -> Iterator[Told]:
    primary = select(Subscription.account_id).where(Subscription.is_primary.is_(True))
    query = select(Subscription.stripe_id).where(
        Subscription.stripe_status.in_(access.LIVE), Subscription.account_id.not_in(primary)
    )
    for stripe_id in session.scalars(query):
        yield f"{stripe_id} is paid for and opens nothing here", f"flask webhooks replay {stripe_id}"


def _unknown_plans(session: Session) -> Iterator[Told]:
    query = select(Subscription).where(Subscription.stripe_status.in_(access.LIVE), Subscription.plan_key.is_(None))
    for row in session.scalars(query):
        yield (
            f"{row.stripe_id} is {row.stripe_status} at price {row.stripe_price_id}, which the catalogue does not list",
            "List the plan again, or move the subscriber to one that is sold: until then it opens nothing.",
        )


def _worker(session: Session) -> Iterator[Told]:
    waited = sync_queue.oldest_wait(session)
    if waited > LATE:
        yield f"an object has waited {waited.total_seconds():.0f} s for the worker", "Is `flask worker` running?"
    beat = pulse.age(session, pulse.WORKER)
    if beat is not None and beat > QUIET:
        yield f"the worker gave its last sign {beat.total_seconds():.0f} s ago", "Start `flask worker`, see its log."
    late = select(func.count()).select_from(Hold)
    late = late.where(Hold.status == HoldStatus.OPEN, Hold.expires_at < clock.now() - timedelta(hours=1))
    if count := session.scalar(late):
        yield f"{count} holds ran out more than an hour ago and are still open", "Is `flask worker` running?"


def _dead_work(session: Session) -> Iterator[Told]:
    for task in session.scalars(select(SyncTask).where(SyncTask.state == "dead")):
        yield (
            f"{task.kind} {task.object_id} was given up after {task.attempts} attempts: {task.last_error}",
            f"Mend the cause, then: flask webhooks replay {task.object_id}",
        )


def _mail(session: Session) -> Iterator[Told]:
    for email in session.scalars(select(Email).where(Email.status == "dead").order_by(Email.id)):
        yield (
            f"mail {email.id} ({email.template}) could not be delivered: {email.last_error}",
            "Mend the address or MAIL_URL, then set its status to pending in the table emails.",
        )
    late = select(func.count()).select_from(Email)
    late = late.where(Email.status == "pending", Email.next_at < clock.now() - timedelta(hours=1))
    if count := session.scalar(late):
        yield f"{count} mails have been due for more than an hour", "Is `flask worker` running, and MAIL_URL right?"


def _addresses(session: Session) -> Iterator[Told]:
    waiting = select(AddressErrand).where(AddressErrand.told < AddressErrand.wanted)
    stuck = waiting.where(AddressErrand.attempts >= MANY_ATTEMPTS).order_by(AddressErrand.account_id)
    for errand in session.scalars(stuck):
        yield (
            f"Stripe has not heard whom account {errand.account_id} belongs to now, after {errand.attempts} attempts: "
            f"{errand.last_error}",
            "Mend the cause; the worker goes on by itself.",
        )


def _stuck_checkouts(session: Session) -> Iterator[Told]:
    query = select(CheckoutIntent).where(
        CheckoutIntent.status == "open", CheckoutIntent.expires_at < clock.now() - timedelta(days=1)
    )
    for intent in session.scalars(query):
        yield (
            f"the checkout {intent.stripe_session_id} is open here, although it ran out on {intent.expires_at:%d %B}",
            "Do webhooks or the poller reach the app? flask compare",
        )


def _owners(session: Session) -> Iterator[Told]:
    """Compare whose things are with whom Stripe charges for them."""
    for kind, table, column in (
        ("subscription", Subscription, Subscription.stripe_id),
        ("charge", Payment, Payment.stripe_charge_id),
    ):
        query = (
            select(column, table.account_id)
            .join(StripeObject, (StripeObject.kind == kind) & (StripeObject.stripe_id == column))
            .join(Account, Account.id == table.account_id)
            .where(
                StripeObject.stripe_customer_id.is_not(None),
                Account.stripe_customer_id.is_distinct_from(StripeObject.stripe_customer_id),
                ~exists().where(
                    FormerCustomer.stripe_customer_id == StripeObject.stripe_customer_id,
                    FormerCustomer.account_id == table.account_id,
                ),
            )
        )
        for stripe_id, account_id in session.execute(query):
            yield (
                f"{stripe_id} belongs to account {account_id} here and to another customer at Stripe",
                "Give it back to its owner, and find out who moved it: no part of the app does.",
            )


def _foreign_effects(session: Session) -> Iterator[Told]:
    config: Config = current_app.config["TOLLGATE"]
    mode = "live" if config.is_live else "test"
    query = select(StripeEvent).where(StripeEvent.livemode.is_(not config.is_live))
    for event in session.scalars(query.where(StripeEvent.object_kind.is_not(None)).limit(20)):
        yield (
            f"{event.stripe_id} is not of the {mode} mode and had an effect on {event.object_id}",
            "Test and live share this database: give each its own, and take out what the other one made.",
        )
    week = clock.now() - timedelta(days=7)
    foreign = query.where(StripeEvent.object_kind.is_(None), StripeEvent.received_at > week).limit(1)
    if session.scalar(foreign) is not None:
        yield (
            f"events of the other mode than {mode} arrive; they are ignored",
            "An endpoint of the other mode points at this site: take it out, or give that mode a site of its own.",
        )


def _webhooks(session: Session) -> Iterator[Told]:
    """Nothing tells a wrong secret from a quiet day, except foreign signatures, and events that only the poller saw."""
    config: Config = current_app.config["TOLLGATE"]
    day_ago = clock.now() - timedelta(days=1)
    if not config.stripe_webhook_secrets:
        yield "no signing secret is set, so every webhook is refused", "Set STRIPE_WEBHOOK_SECRETS to the endpoint's."
        return
    query = select(StripeEvent.source, func.count()).where(StripeEvent.received_at > day_ago)
    count = dict(session.execute(query.group_by(StripeEvent.source)).all())
    refused = pulse.age(session, pulse.SIGNATURE_REFUSED)
    if refused is not None and refused < timedelta(days=1) and not count.get("webhook", 0):
        yield (
            "webhooks of the last day were signed with a secret that is not ours, and none with ours",
            "Copy the signing secret of this very endpoint (or what `stripe listen` prints) to STRIPE_WEBHOOK_SECRETS.",
        )
    elif count.get("poll", 0) > 0 and not count.get("webhook", 0):
        yield (
            f"{count['poll']} events of the last day were found by the poller and none came by webhook",
            "Is there an endpoint, and can Stripe reach APP_BASE_URL?",
        )


def _key_refused(session: Session) -> Iterator[Told]:
    if pulse.age(session, pulse.KEY_REFUSED) is not None:
        yield (
            "Stripe refused the key when the worker asked last",
            "Copy STRIPE_SECRET_KEY anew from Stripe's Dashboard.",
        )


def _paid_after_the_end(session: Session) -> Iterator[Told]:
    """Look for money of people who are gone: a checkout that was paid in the moment in which they deleted it all."""
    query = (
        select(Payment.stripe_charge_id)
        .join(Account, Account.id == Payment.account_id)
        .where(Payment.paid_at > Account.closed_at, Payment.refunded_cents < Payment.amount_cents)
        .order_by(Payment.stripe_charge_id)
    )
    for charge_id in session.scalars(query):
        yield f"{charge_id} was paid after its account was deleted", "Refund it in the back office."


LEDGER = ("I1", "I2", "I3", "I4", "I5", "I6", "I7", "I15", "I18")

CHECKS = (
    Check("ledger", _ledger, LEDGER),
    Check("every payment has its credits", _paid_but_not_granted, ("I8",)),
    Check("no payment is granted twice", _granted_twice, ("I8",)),
    Check("every plan's grant is in the ledger", _grants_of_plans, ("I8",)),
    Check("what went back was taken back", _taken_back, ("I9",)),
    Check("no period gets more than its best plan", _periods, ("I10",)),
    Check("one trial per account", _trials, ("I11",)),
    Check("one live subscription per account", _second_subscriptions, ("I13",)),
    Check("who pays has what was paid for", _no_primary, ("I12",)),
    Check("subscriptions are of the catalogue", _unknown_plans),
    Check("a subscription is billed for one plan", _several_plans),
    Check("the worker keeps up", _worker, ("I3", "I12")),
    Check("nothing was given up", _dead_work, ("I8", "I12")),
    Check("mail leaves", _mail, ("I14",)),
    Check("Stripe knows whose an account is", _addresses),
    Check("nobody pays who is gone", _paid_after_the_end),
    Check("checkouts end", _stuck_checkouts),
    Check("everything belongs to its owner", _owners, ("I17",)),
    Check("nothing comes of foreign events", _foreign_effects, ("I16",)),
    Check("webhooks arrive", _webhooks),
    Check("the worker's key is accepted", _key_refused),
)
