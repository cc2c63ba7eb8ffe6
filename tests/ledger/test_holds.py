"""Long work: credits are set aside, charged with the result, or given back."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from sqlalchemy import insert, update
from sqlalchemy.orm import Session

import clock as app_clock
from database import write
from extensions import db
from ledger import clawback, freezing, granting, holds, spending, statement
from ledger.errors import HoldSettled, IdempotencyConflict, LedgerCorrupt, NotEnoughCredits, UnknownHold, WalletFrozen
from ledger.models import Hold, TransactionKind
from tests.worlds import Clock

LEASE = timedelta(minutes=15)


def give(account: int, credits: int, source: str = "pack", expires_at: datetime | None = None) -> None:
    write(granting.grant, account, credits, kind="purchase", source=source, expires_at=expires_at)


def reserve(account: int, credits: int, key: str = "job 1", **more: str) -> holds.Held:
    return write(holds.reserve, account, credits, idempotency_key=key, reason="CV check", lease=LEASE, **more)


def shown(account: int) -> tuple[int, int, int]:
    balance = statement.balance(db.session, account)
    return balance.total, balance.held, balance.debt


def test_a_hold_takes_credits_out_of_the_balance_without_charging_them(account: int) -> None:
    give(account, 10)
    held = reserve(account, 4, reference="job:1", actor="Ann")
    assert (held.credits, held.balance, held.is_replay) == (4, 6, False)
    assert shown(account) == (6, 4, 0)
    line = statement.recent(db.session, account)[0]
    assert (line.kind, line.credits, line.used, line.reference, line.actor) == ("hold", -4, 0, "job:1", "Ann")


def test_a_hold_is_captured_whole_unless_told_otherwise(account: int) -> None:
    give(account, 10)
    held = reserve(account, 4, reference="job:1")
    settled = write(holds.capture, held.hold_id)
    assert (settled.captured, settled.returned, settled.balance) == (4, 0, 6)
    assert shown(account) == (6, 0, 0)
    line = statement.recent(db.session, account)[0]
    assert (line.kind, line.credits, line.used, line.reason, line.reference) == ("capture", 0, 4, "CV check", "job:1")


def test_what_is_not_captured_returns_to_the_buckets_it_came_from(account: int) -> None:
    until = app_clock.now() + timedelta(days=5)
    give(account, 3, "soon", until)
    give(account, 10, "pack")
    held = reserve(account, 6)
    settled = write(holds.capture, held.hold_id, 2, reason="2 of 6 pages")
    assert (settled.captured, settled.returned) == (2, 4)
    left = {s.source: s.remaining for s in statement.balance(db.session, account).sources}
    assert left == {"soon": 1, "pack": 10}


def test_released_work_costs_nothing(account: int) -> None:
    give(account, 10)
    settled = write(holds.release, reserve(account, 4).hold_id)
    assert (settled.captured, settled.returned, settled.balance) == (0, 4, 10)
    assert statement.recent(db.session, account)[0].reason == "Not charged: CV check"


def test_settling_again_in_the_same_way_changes_nothing(account: int) -> None:
    give(account, 10)
    captured, released = reserve(account, 4, "a"), reserve(account, 3, "b")
    first = [write(holds.capture, captured.hold_id, 2), write(holds.release, released.hold_id)]
    again = [write(holds.capture, captured.hold_id, 2), write(holds.release, released.hold_id)]
    assert [(s.transaction_id, s.captured, s.returned, s.balance) for s in again] == [
        (s.transaction_id, s.captured, s.returned, s.balance) for s in first
    ]
    assert [s.is_replay for s in first + again] == [False, False, True, True]
    assert shown(account) == (8, 0, 0)


def test_a_hold_that_ended_cannot_end_otherwise(account: int) -> None:
    give(account, 10)
    captured, released = reserve(account, 4, "a"), reserve(account, 3, "b")
    write(holds.capture, captured.hold_id)
    write(holds.release, released.hold_id)
    for attempt in (
        lambda: write(holds.release, captured.hold_id),
        lambda: write(holds.capture, captured.hold_id, 1),
        lambda: write(holds.extend, captured.hold_id, LEASE),
        lambda: write(holds.capture, released.hold_id),
    ):
        with pytest.raises(HoldSettled) as refused:
            attempt()
        assert refused.value.hold_status in {"captured", "released"}
    assert shown(account) == (6, 0, 0)


@pytest.mark.parametrize("credits", [0, -1, 5, 1.5])
def test_only_what_is_held_can_be_captured(account: int, credits: object) -> None:
    give(account, 10)
    held = reserve(account, 4)
    with pytest.raises(ValueError, match=r"captured|whole number"):
        write(holds.capture, held.hold_id, credits)
    assert shown(account) == (6, 4, 0)


@pytest.mark.parametrize("credits", [0, -1, 1.5, True])
def test_only_whole_credits_can_be_set_aside(account: int, credits: int) -> None:
    give(account, 10)
    with pytest.raises(ValueError, match="whole number"):
        reserve(account, credits)
    assert shown(account) == (10, 0, 0)


def test_a_hold_that_does_not_exist_cannot_be_settled(account: int) -> None:
    for settle in (holds.capture, holds.release):
        with pytest.raises(UnknownHold, match="404"):
            write(settle, 404)


def test_the_same_key_holds_once(account: int) -> None:
    give(account, 10)
    first, again = reserve(account, 4), reserve(account, 4)
    assert (again.hold_id, again.balance, again.expires_at) == (first.hold_id, 6, first.expires_at)
    assert again.is_replay
    assert shown(account) == (6, 4, 0)
    with pytest.raises(IdempotencyConflict):
        reserve(account, 5)


def test_the_same_key_is_for_the_same_work_by_its_reason_or_by_a_hash_of_its_request(account: int) -> None:
    give(account, 10)
    more = {"reason": "CV check", "lease": LEASE}
    write(holds.reserve, account, 1, idempotency_key="a", **more)
    write(holds.reserve, account, 1, idempotency_key="b", request_hash="one", **more)
    with pytest.raises(IdempotencyConflict):
        write(holds.reserve, account, 1, idempotency_key="a", **{**more, "reason": "Other work"})
    with pytest.raises(IdempotencyConflict):
        write(holds.reserve, account, 1, idempotency_key="b", request_hash="other", **more)
    other_words = {**more, "reason": "The same in other words"}
    assert write(holds.reserve, account, 1, idempotency_key="b", request_hash="one", **other_words).is_replay


def test_a_refused_hold_leaves_its_key_free(account: int) -> None:
    with pytest.raises(NotEnoughCredits):
        reserve(account, 4)
    give(account, 4)
    assert not reserve(account, 4).is_replay


def test_held_credits_cannot_be_spent_twice(account: int) -> None:
    give(account, 10)
    reserve(account, 7)
    with pytest.raises(NotEnoughCredits):
        write(spending.spend, account, 4, idempotency_key="a", reason="CV check")


def test_a_hold_whose_worker_died_is_given_back_after_its_lease(account: int, clock: Clock) -> None:
    give(account, 10)
    reserve(account, 4, "dies")
    alive = reserve(account, 3, "lives")
    clock.advance(minutes=10)
    assert write(holds.sweep) == 0
    write(holds.extend, alive.hold_id, LEASE)
    clock.advance(minutes=6)
    assert write(holds.sweep) == 1
    assert shown(account) == (7, 3, 0)
    assert statement.recent(db.session, account)[0].reason == "Not finished in time: CV check"


def test_a_lease_ends_at_its_very_instant(account: int, clock: Clock, still_time: None) -> None:
    give(account, 10)
    reserve(account, 4)
    clock.advance(minutes=15)
    assert write(holds.sweep) == 1


def test_work_that_finishes_late_is_charged_unless_its_hold_was_swept(account: int, clock: Clock) -> None:
    give(account, 10)
    late, too_late = reserve(account, 4, "late"), reserve(account, 3, "too late")
    clock.advance(minutes=20)
    assert write(holds.capture, late.hold_id).captured == 4
    assert write(holds.sweep) == 1
    with pytest.raises(HoldSettled) as refused:
        write(holds.capture, too_late.hold_id)
    assert refused.value.hold_status == "expired"
    assert write(holds.release, too_late.hold_id).is_replay


def test_a_sweep_takes_no_more_than_it_was_asked_to(account: int, other_account: int, clock: Clock) -> None:
    for each in (other_account, account):
        give(each, 10)
        reserve(each, 4, "a")
        reserve(each, 4, "b")
    clock.advance(minutes=20)
    assert [write(holds.sweep, limit=3) for _ in range(3)] == [3, 1, 0]


def test_a_sweep_leaves_alone_what_was_extended_while_it_looked(account: int, clock: Clock) -> None:
    give(account, 10)
    held = reserve(account, 4)
    clock.advance(minutes=20)

    def sweep_that_lost_the_race(session: Session) -> bool:
        holds.extend(session, held.hold_id, LEASE)
        return holds._expire(session, held.hold_id)

    assert write(sweep_that_lost_the_race) is False
    assert shown(account) == (6, 4, 0)


def test_extending_never_shortens_a_lease(account: int) -> None:
    give(account, 10)
    held = reserve(account, 4)
    assert write(holds.extend, held.hold_id, timedelta(seconds=1)) == held.expires_at


def test_credits_that_expired_on_hold_come_back_for_an_hour(account: int, clock: Clock) -> None:
    give(account, 10, "plan", app_clock.now() + timedelta(minutes=5))
    held = reserve(account, 4)
    clock.advance(minutes=10)
    settled = write(holds.capture, held.hold_id, 1)
    assert (settled.returned, settled.balance) == (3, 3)
    clock.advance(minutes=59)
    assert statement.balance(db.session, account).total == 3
    clock.advance(minutes=2)
    assert statement.balance(db.session, account).total == 0


def test_credits_that_come_back_at_the_instant_they_expire_come_back_for_an_hour(
    account: int, clock: Clock, still_time: None
) -> None:
    give(account, 10, "plan", app_clock.now() + timedelta(minutes=5))
    held = reserve(account, 4)
    clock.advance(minutes=5)
    assert write(holds.release, held.hold_id).balance == 4
    clock.advance(minutes=59)
    assert statement.balance(db.session, account).total == 4


def test_credits_that_come_back_repay_a_debt_first(account: int) -> None:
    give(account, 10, "charge:1")
    held = reserve(account, 6)
    write(clawback.claw_to, account, "charge:1", 10, version=1)
    assert shown(account) == (0, 6, 6)
    settled = write(holds.capture, held.hold_id, 1)
    assert (settled.captured, settled.repaid, settled.returned) == (1, 5, 0)
    assert shown(account) == (0, 0, 1)
    again = write(holds.capture, held.hold_id, 1)
    assert (again.captured, again.repaid, again.returned, again.is_replay) == (1, 5, 0, True)


def test_a_hold_in_several_buckets_repays_what_is_owed_and_returns_the_rest(account: int) -> None:
    give(account, 4, "charge:1")
    give(account, 6, "charge:2")
    held = reserve(account, 9)
    write(clawback.claw_to, account, "charge:1", 4, version=1)
    write(clawback.claw_to, account, "charge:2", 1, version=1)
    settled = write(holds.release, held.hold_id)
    assert (settled.repaid, settled.returned) == (4, 5)
    assert shown(account) == (5, 0, 0)


def test_a_frozen_wallet_takes_no_new_holds_but_settles_open_ones(account: int) -> None:
    give(account, 10)
    captured, released = reserve(account, 2, "a"), reserve(account, 3, "b")
    write(freezing.freeze, account, "dispute:1", reason="a payment is disputed")
    with pytest.raises(WalletFrozen):
        reserve(account, 1, "c")
    write(holds.capture, captured.hold_id)
    write(holds.release, released.hold_id)
    assert shown(account) == (8, 0, 0)


def test_a_capture_lives_and_dies_with_the_result_it_pays_for(account: int) -> None:
    give(account, 10)
    held = reserve(account, 4)

    def fail_after_capturing(session: Session) -> None:
        holds.capture(session, held.hold_id)
        raise RuntimeError("the result could not be stored")

    with pytest.raises(RuntimeError):
        write(fail_after_capturing)
    assert shown(account) == (6, 4, 0)


def test_a_hold_that_contradicts_the_journal_stops(account: int) -> None:
    give(account, 10)
    held = reserve(account, 4)

    def settle_behind_the_journal(session: Session) -> None:
        session.execute(update(Hold).values(status="released"))
        holds.release(session, held.hold_id)

    def settle_what_changes_meanwhile(session: Session) -> None:
        wallet, hold = holds._lock(session, held.hold_id)
        session.execute(update(Hold).values(status="released"))
        holds._settle(wallet, hold, holds.HoldStatus.CAPTURED, captured=4, reason="late")

    def settle_under_a_key_that_is_taken(session: Session) -> None:
        wallet, _ = holds._lock(session, held.hold_id)
        taken = {"account_id": account, "kind": TransactionKind.SPEND, "idempotency_key": f"settle:{held.hold_id}"}
        facts = {"credits": 0, "debt": 0, "used": 0, "balance_after": 6, "reason": "", "at": wallet.now}
        session.execute(insert(holds.journal.transactions), taken | facts)
        holds.release(session, held.hold_id)

    for damage in (settle_behind_the_journal, settle_what_changes_meanwhile, settle_under_a_key_that_is_taken):
        with pytest.raises(LedgerCorrupt):
            write(damage)
    assert shown(account) == (6, 4, 0)
