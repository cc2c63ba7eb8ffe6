"""What staff may change, each with its line in the audit log in the same transaction, and once per one-time number.

Every function takes a session first and runs inside `database.write`; `actor` is who does it, `key` the form's number.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

import clock
from accounts import api_keys, audit, people
from accounts.models import Account
from billing import freezes, sync_queue
from billing.models import SyncTask
from billing.reversals import Dispute, FreezeWaiver
from ledger import adjusting, statement
from mail import outbox


def adjust_credits(
    session: Session,
    account_id: int,
    credits: int,
    *,
    reason: str,
    actor: str,
    key: str,
    expires_at: datetime | None = None,
) -> None:
    """Add credits to an account, or remove them when the number is negative, for a reason that the customer reads.

    Raises NotEnoughCredits when fewer are there than should go.
    """
    lock(session, account_id)
    if audit.is_done(session, key):
        return
    before = _credits(session, account_id)
    adjusting.adjust(
        session, account_id, credits, idempotency_key=key, reason=reason, actor=actor, expires_at=expires_at
    )
    _record(session, account_id, "credits.adjusted", before, actor=actor, key=key, reason=reason)


def forgive_debt(session: Session, account_id: int, credits: int, *, reason: str, actor: str, key: str) -> None:
    """Cancel a debt, in whole or in part, for a reason that the customer reads; raises DebtSmaller."""
    lock(session, account_id)
    if audit.is_done(session, key):
        return
    before = _credits(session, account_id)
    adjusting.forgive(session, account_id, credits, idempotency_key=key, reason=reason, actor=actor)
    _record(session, account_id, "debt.forgiven", before, actor=actor, key=key, reason=reason)


def pause_spending(session: Session, account_id: int, *, reason: str, actor: str, key: str) -> None:
    """Stop an account's spending until staff lets it go on."""
    lock(session, account_id)
    if audit.is_done(session, key):
        return
    before = _pauses(session, account_id)
    freezes.stop(session, account_id, freezes.BY_STAFF, reason=reason, actor=actor)
    after = _pauses(session, account_id)
    about = ("wallet", str(account_id))
    audit.record(
        session,
        actor=actor,
        action="spending.paused",
        about=about,
        key=key,
        account_id=account_id,
        before=before,
        after=after,
        reason=reason,
    )


def resume_spending(session: Session, account_id: int, cause: str, *, reason: str, actor: str, key: str) -> None:
    """Let an account spend although of a cause, for good: later syncs of the same dispute or warning leave it alone."""
    lock(session, account_id)
    if audit.is_done(session, key):
        return
    before = _pauses(session, account_id)
    if cause != freezes.BY_STAFF and session.get(FreezeWaiver, (account_id, cause)) is None:
        session.add(FreezeWaiver(account_id=account_id, cause=cause, actor=actor, reason=reason, waived_at=clock.now()))
    freezes.let_go(session, account_id, cause, reason=reason, actor=actor)
    audit.record(
        session,
        actor=actor,
        action="spending.resumed",
        about=("wallet", str(account_id)),
        key=key,
        account_id=account_id,
        before=before,
        after=_pauses(session, account_id),
        reason=reason,
    )


def revoke_api_key(session: Session, account_id: int, public_id: str, *, reason: str, actor: str, key: str) -> bool:
    """End a key of an account at once and for good, and tell its owner why; False when the account has no such key.

    Revoking one that is revoked already is no second line and no second mail.
    """
    lock(session, account_id)
    if audit.is_done(session, key):
        return True
    found = api_keys.find_own(session, account_id, public_id)
    if found is None or found.revoked_at is not None:
        return found is not None
    api_keys.revoke(session, account_id, public_id)
    audit.record(
        session,
        actor=actor,
        action="api_key.revoked",
        about=("api_key", public_id),
        key=key,
        account_id=account_id,
        before={"name": found.name, "prefix": found.prefix, "state": "live"},
        after={"state": "revoked"},
        reason=reason,
    )
    outbox.queue(
        session,
        "api_key_revoked",
        to=people.owner_email(session, account_id),
        context={"name": found.name, "prefix": found.prefix, "reason": reason},
        dedupe_key=f"api_key_revoked:{public_id}",
        account_id=account_id,
    )
    return True


def replay_object(session: Session, kind: str, object_id: str, *, actor: str, key: str) -> bool:
    """Have an object fetched from Stripe again; False when it was never heard of."""
    task = session.get(SyncTask, (kind, object_id), with_for_update=True)
    if task is None:
        return False
    if audit.is_done(session, key):
        return True
    before = {"state": task.state, "attempts": task.attempts, "last_error": task.last_error}
    sync_queue.mark_dirty(session, kind, object_id)
    audit.record(
        session,
        actor=actor,
        action="sync.replayed",
        about=(kind, object_id),
        key=key,
        before=before,
        after={"state": "live"},
    )
    return True


def resend_mail(session: Session, uuid: str, *, actor: str, key: str) -> bool:
    """Queue a mail that was given up once more; False when there is none like that."""
    found = outbox.find_dead(session, uuid)
    if found is None:
        return audit.is_done(session, key)
    if audit.is_done(session, key):
        return True
    before = {"status": found.status, "attempts": found.attempts, "last_error": found.last_error}
    outbox.revive(session, found)
    audit.record(
        session,
        actor=actor,
        action="mail.resent",
        about=("mail", uuid),
        key=key,
        account_id=found.account_id,
        before=before,
        after={"status": found.status},
    )
    return True


def note_evidence(
    session: Session, stripe_id: str, evidence: dict[str, str], *, is_submitted: bool, actor: str, key: str
) -> None:
    """Write down, before Stripe is asked, what evidence is to be kept or sent."""
    dispute = session.get_one(Dispute, stripe_id)
    lock(session, dispute.account_id)
    if audit.is_done(session, key):
        return
    audit.record(
        session,
        actor=actor,
        action="evidence.submitted" if is_submitted else "evidence.saved",
        about=("dispute", dispute.stripe_id),
        key=key,
        account_id=dispute.account_id,
        before={"status": dispute.stripe_status, "evidence": dispute.evidence},
        after={"evidence": evidence},
    )


def lock(session: Session, account_id: int) -> None:
    """Lock the account's row before anything else of it."""
    session.execute(select(Account.id).where(Account.id == account_id).with_for_update())


def _record(
    session: Session, account_id: int, action: str, before: dict[str, Any], *, actor: str, key: str, reason: str
) -> None:
    audit.record(
        session,
        actor=actor,
        action=action,
        about=("wallet", str(account_id)),
        key=key,
        account_id=account_id,
        before=before,
        after=_credits(session, account_id),
        reason=reason,
    )


def _credits(session: Session, account_id: int) -> dict[str, Any]:
    balance = statement.balance(session, account_id)
    return {"balance": balance.total, "debt": balance.debt}


def _pauses(session: Session, account_id: int) -> dict[str, Any]:
    return {"paused_by": [freeze.cause for freeze in freezes.causes(session, account_id)]}
