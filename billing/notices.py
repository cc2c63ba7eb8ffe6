"""The mails about a subscription's money: a trial that ends soon, a renewal that failed, and that all is well again.

Each follows from the state that was fetched from Stripe, once per invoice and stage by its key, so that neither
repeated nor reordered events send it twice; just before it leaves, the state is looked at again.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

import clock
from accounts import people
from billing import access, catalog, pending
from billing.models import Status, StripeObject, Subscription
from billing.money import in_words
from billing.subscriptions import instant
from mail import links, outbox
from mail.models import KEPT, PENDING, SENT, Email
from mail.preparing import NotNeeded, Prepared, prepares

Json = dict[str, Any]

TRIAL_NOTICE = timedelta(days=3)
# The invoices that nobody is waiting for on a page: renewals, and a trial's first.
UNATTENDED = frozenset({"subscription_cycle"})


def after_subscription(session: Session, account_id: int, row: Subscription) -> None:
    """Promise the reminder of a trial that ends within three days and will cost something."""
    ends_at = row.trial_ends_at
    if row.stripe_status != Status.TRIALING or ends_at is None or row.cancels_at is not None:
        return
    # Stripe announces it three days before, to the second: some minutes more let that very event count.
    if ends_at - clock.now() > TRIAL_NOTICE + timedelta(minutes=10):
        return
    outbox.queue(
        session,
        "trial_ending",
        to=people.owner_email(session, account_id),
        context={"stripe_subscription_id": row.stripe_id, "trial_ends_at": int(ends_at.timestamp())},
        dedupe_key=f"trial-ends:{row.stripe_id}:{int(ends_at.timestamp())}",
        account_id=account_id,
        not_after=ends_at,
    )


def after_second_trial(session: Session, account_id: int, row: Subscription) -> None:
    """Promise the mail that says why a trial was ended as soon as it began."""
    outbox.queue(
        session,
        "second_trial",
        to=people.owner_email(session, account_id),
        context={"stripe_subscription_id": row.stripe_id},
        dedupe_key=f"second-trial:{row.stripe_id}",
        account_id=account_id,
    )


def after_invoice(session: Session, account_id: int, invoice: Json) -> None:
    """Promise the mail that a failed renewal's stage calls for, or, once it is paid, the one that says so."""
    stage = stage_of(invoice)
    if stage is not None:
        _promise(session, account_id, "payment_failed", invoice["id"], stage)
    elif invoice["status"] == "paid" and _was_told(session, invoice["id"]):
        _promise(session, account_id, "payment_recovered", invoice["id"], "recovered")


def stage_of(invoice: Json) -> str | None:
    """Return how far an unpaid renewal has come: first, second or final; None when there is nothing to tell."""
    if invoice["status"] != "open" or not invoice["attempted"] or invoice["billing_reason"] not in UNATTENDED:
        return None
    if invoice["next_payment_attempt"] is None:
        return "final"
    return "first" if invoice["attempt_count"] <= 1 else "second"


@prepares("trial_ending")
def prepare_trial_ending(session: Session, mail: Prepared) -> Prepared:
    """Say what the trial's end will cost; raise NotNeeded when it ended, moved, or was cancelled."""
    row = session.get(Subscription, mail.context["stripe_subscription_id"])
    ends_at = instant(mail.context["trial_ends_at"])
    if row is None or row.stripe_status != Status.TRIALING or row.trial_ends_at != ends_at or row.cancels_at:
        raise NotNeeded("the trial has ended, moved or been cancelled")
    amount = None if row.amount_cents is None else in_words(row.amount_cents, row.currency or "usd")
    facts = {"plan": _plan_name(row), "ends_at": ends_at, "amount": amount, "billing_url": links.to("billing.index")}
    return Prepared(mail.template, mail.to, {**mail.context, **facts})


@prepares("second_trial")
def prepare_second_trial(session: Session, mail: Prepared) -> Prepared:
    """Say why the trial was ended and what the plan costs; raise NotNeeded when another plan has begun since."""
    row = session.get_one(Subscription, mail.context["stripe_subscription_id"])
    if access.subscription_of(session, row.account_id) is not None:
        raise NotNeeded("a plan has been started without a trial")
    facts = {"plan": _plan_name(row), "plans_url": links.to("pricing.index")}
    if row.price_key and row.amount_cents is not None:
        interval = catalog.current().price(row.price_key).interval
        facts["amount"] = f"{in_words(row.amount_cents, row.currency or 'usd')} a {interval}"
    return Prepared(mail.template, mail.to, {**mail.context, **facts})


@prepares("payment_failed")
def prepare_payment_failed(session: Session, mail: Prepared) -> Prepared:
    """Say what failed, what comes next and how to pay; raise NotNeeded when it is paid or a later mail says more.

    Where the bank wants to see the customer, the mail asks for that instead.
    """
    invoice = _invoice(session, mail)
    if stage_of(invoice) != mail.context["stage"]:
        raise NotNeeded(f"the invoice is {invoice['status']}, or has come further")
    template = "payment_action" if pending.wants_customer(pending.open_intent(invoice)) else mail.template
    return Prepared(template, mail.to, {**mail.context, **_facts(session, invoice)})


@prepares("payment_recovered")
def prepare_payment_recovered(session: Session, mail: Prepared) -> Prepared:
    """Say that all is well, to whoever was told that it was not; raise NotNeeded otherwise."""
    invoice = _invoice(session, mail)
    if invoice["status"] != "paid" or not _was_told(session, invoice["id"], in_states=(SENT, KEPT)):
        raise NotNeeded("nobody was told that it had failed")
    return Prepared(mail.template, mail.to, {**mail.context, **_facts(session, invoice)})


def _promise(session: Session, account_id: int, template: str, invoice_id: str, stage: str) -> None:
    outbox.queue(
        session,
        template,
        to=people.owner_email(session, account_id),
        context={"stripe_invoice_id": invoice_id, "stage": stage},
        dedupe_key=f"dunning:{invoice_id}:{stage}",
        account_id=account_id,
    )


def _was_told(session: Session, invoice_id: str, in_states: tuple[str, ...] = (PENDING, SENT, KEPT)) -> bool:
    keys = [f"dunning:{invoice_id}:{stage}" for stage in ("first", "second", "final")]
    return session.scalar(select(Email.id).where(Email.dedupe_key.in_(keys), Email.status.in_(in_states))) is not None


def _invoice(session: Session, mail: Prepared) -> Json:
    row = session.get(StripeObject, ("invoice", mail.context["stripe_invoice_id"]))
    if row is None:
        raise NotNeeded("the invoice is unknown")
    invoice: Json = json.loads(row.body)
    return invoice


def _facts(session: Session, invoice: Json) -> Json:
    details = (invoice.get("parent") or {}).get("subscription_details") or {}
    named = details.get("subscription")
    row = session.get(Subscription, named["id"] if isinstance(named, dict) else named) if named else None
    grace = timedelta(days=catalog.current().policies.past_due_grace_days)
    closes_at = row.past_due_since + grace if row is not None and row.past_due_since else None
    return {
        "plan": _plan_name(row),
        "free_plan": catalog.current().free_plan.name,
        "amount": in_words(invoice["amount_remaining"] or invoice["amount_paid"], invoice["currency"]),
        "next_attempt_at": instant(invoice["next_payment_attempt"]),
        "closes_at": closes_at,
        "is_closed": closes_at is not None and closes_at <= clock.now(),
        "is_over": row is None or row.stripe_status not in access.LIVE,
        "pay_url": invoice.get("hosted_invoice_url") or links.to("billing.index"),
        "billing_url": links.to("billing.index"),
    }


def _plan_name(row: Subscription | None) -> str:
    plans = {plan.key: plan.name for plan in catalog.current().plans}
    return plans.get(row.plan_key or "", "your plan") if row is not None else "your plan"
