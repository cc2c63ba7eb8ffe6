"""One trial for each account, e-mail address and card: who has it is decided once, by whose keys it came first with.

The card is known only when the checkout is complete, so a second trial of a card cannot be refused before. It is ended
at once instead: nothing is charged, for the page of the checkout spoke of later, and the customer is told why. A card
that comes later in a trial, or pays the first period after it, has had its trial as well.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import String, bindparam, cast, literal, or_, select
from sqlalchemy.orm import Session

import clock
import database
from accounts import former_mailboxes, people
from accounts.former_mailboxes import FormerMailbox
from accounts.identity import mailbox_key
from billing import catalog, customers
from billing.models import Status, TrialUse
from prepared import Reading

Json = dict[str, Any]

# What a subscription says at Stripe whose trial was ended for this reason.
ENDED_BECAUSE = "The card has had its free trial before."
# What people read on Stripe's page before they start a trial.
TERMS = (
    "One free trial per person and card. If this card has had one before, the trial ends at once, nothing is charged, "
    "and you can choose to start without a trial."
)
# A trial that begins this long after its subscription is an operator's gift.
AT_ONCE = timedelta(minutes=5)

# Every page of prices asks.
_OF_FORMER = select(literal("account:") + cast(FormerMailbox.account_id, String)).where(
    FormerMailbox.mailbox_hash == bindparam("of_mailbox")
)
_USED = Reading(
    select(TrialUse.key)
    .where(
        or_(
            TrialUse.key.in_((bindparam("of_account"), bindparam("of_address"))),
            # Of an account that was deleted nobody knows the address any more.
            TrialUse.key.in_(_OF_FORMER),
        )
    )
    .limit(1),
    str,
)


def has_used(session: Session, account_id: int) -> bool:
    """Tell whether the account, or another one with the same normalised e-mail address, has had its trial."""
    email = people.owner_email(session, account_id)
    of_account, of_address = _keys_of(account_id, email)
    of_mailbox = former_mailboxes.hash_of_mailbox(email)
    return _USED.first(session, of_account=of_account, of_address=of_address, of_mailbox=of_mailbox) is not None


def claim(session: Session, account_id: int, stripe_subscription: Json) -> bool:
    """Write down whose trial a fetched subscription's is; tell whether it may have one. Decided once, for ever.

    It may when nobody had one with the same account, e-mail address or card before. Trials that an operator gives are
    not judged. What is decided stays, whatever card comes later; but that card is remembered with it.
    """
    stripe_id = stripe_subscription["id"]
    decided = f"subscription:{stripe_id}"
    if session.get(TrialUse, decided) is not None:
        if _is_used_by_card(stripe_subscription):
            for key in _keys_of_card(stripe_subscription):
                _remember(session, key, account_id, stripe_id)
        return True
    keys = _keys(session, account_id, stripe_subscription)
    for key in keys:
        _remember(session, key, account_id, stripe_id)
    if _others_among(session, keys, stripe_id) and _is_from_checkout(stripe_subscription):
        return False
    _remember(session, decided, account_id, stripe_id)
    return True


def is_to_be_ended(session: Session, stripe_subscription: Json) -> bool:
    """Tell whether a fetched subscription is on a trial that somebody with its card or name had before."""
    if stripe_subscription["status"] != Status.TRIALING or not _is_from_checkout(stripe_subscription):
        return False
    account_id = customers.owner_of(session, stripe_subscription["customer"])
    if account_id is None or session.get(TrialUse, f"subscription:{stripe_subscription['id']}") is not None:
        return False
    keys = _keys(session, account_id, stripe_subscription)
    return _others_among(session, keys, stripe_subscription["id"])


def was_ended(stripe_subscription: Json) -> bool:
    """Tell whether a fetched subscription's trial was ended because its card had had one."""
    details = stripe_subscription.get("cancellation_details") or {}
    return stripe_subscription["status"] == Status.CANCELED and details.get("comment") == ENDED_BECAUSE


def _keys(session: Session, account_id: int, stripe_subscription: Json) -> list[str]:
    return [*_keys_of_account(session, account_id), *_keys_of_card(stripe_subscription)]


def _keys_of_card(stripe_subscription: Json) -> list[str]:
    if catalog.current().policies.trials_per_card == "any":
        return []
    card = (stripe_subscription.get("charged_to") or {}).get("card") or {}
    return [f"card:{card['fingerprint']}"] if card.get("fingerprint") else []


def _is_used_by_card(stripe_subscription: Json) -> bool:
    """Tell whether the card of a fetched subscription is the trial's: in it, or in the first period that it leads to.

    A card that a subscriber of years takes into use had no trial, and may begin one with an account of its own.
    """
    # Use is billed by the month, so the item whose period began first is the plan's.
    starts_at = min(item["current_period_start"] for item in stripe_subscription["items"]["data"])
    return bool(starts_at <= (stripe_subscription.get("trial_end") or 0))


def _keys_of_account(session: Session, account_id: int) -> tuple[str, str]:
    return _keys_of(account_id, people.owner_email(session, account_id))


def _keys_of(account_id: int, email: str) -> tuple[str, str]:
    # A person may have two accounts as ann@ and ann+2@, but one trial.
    return f"account:{account_id}", f"email:{mailbox_key(email)}"


def _others_among(session: Session, keys: list[str], stripe_subscription_id: str) -> bool:
    others = select(TrialUse.key).where(
        TrialUse.key.in_(keys), TrialUse.stripe_subscription_id != stripe_subscription_id
    )
    return session.scalars(others.limit(1)).first() is not None


def _is_from_checkout(stripe_subscription: Json) -> bool:
    """Tell whether our checkout gave a trial; what an operator gives in Stripe's Dashboard begins otherwise."""
    started, trial = stripe_subscription["start_date"], stripe_subscription.get("trial_start")
    is_ours = "intent" in (stripe_subscription.get("metadata") or {})
    return is_ours and trial is not None and trial - started <= AT_ONCE.total_seconds()


def _remember(session: Session, key: str, account_id: int, stripe_subscription_id: str) -> None:
    use = database.insert(session, TrialUse).values(
        key=key, account_id=account_id, stripe_subscription_id=stripe_subscription_id, used_at=clock.now()
    )
    session.execute(use.on_conflict_do_nothing(index_elements=["key"]))
