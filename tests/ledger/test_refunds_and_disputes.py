"""Credits are taken back as far as the payment's present state asks for, in whatever order it is heard of."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import permutations

import pytest

import clock as app_clock
from database import write
from extensions import db
from ledger import adjusting, clawback, granting, holds, spending, statement
from ledger.errors import UnknownGrant
from tests.worlds import Clock


def give(account: int, credits: int, source: str = "charge:1", expires_at: datetime | None = None) -> None:
    write(granting.grant, account, credits, kind="purchase", source=source, expires_at=expires_at)


def spend(account: int, credits: int, key: str = "a") -> None:
    write(spending.spend, account, credits, idempotency_key=key, reason="CV check")


def claw(account: int, target: int, version: int | None = None, source: str = "charge:1") -> clawback.Clawed:
    return write(clawback.claw_to, account, source, target, version=version)


def shown(account: int) -> tuple[int, int, int]:
    balance = statement.balance(db.session, account)
    return balance.total, balance.held, balance.debt


@pytest.mark.parametrize(
    ("returned", "expected"),
    [(0, 0), (1, 1), (33, 1), (34, 2), (500, 15), (501, 16), (999, 30), (1000, 30), (2000, 30)],
)
def test_the_target_is_the_share_that_went_back_rounded_up(returned: int, expected: int) -> None:
    assert clawback.target(30, paid_cents=1000, returned_cents=returned) == expected


def test_a_payment_of_nothing_takes_nothing_back() -> None:
    assert clawback.target(30, paid_cents=0, returned_cents=0) == 0
    assert clawback.target(30, paid_cents=0, returned_cents=10) == 0
    assert clawback.target(30, paid_cents=1, returned_cents=1) == 30


def test_a_claw_back_without_a_version_counts_as_the_newest(account: int) -> None:
    give(account, 30)
    claw(account, 10, 7)
    assert claw(account, 20).applied
    assert not claw(account, 5, 8).applied
    assert claw(account, 5, 9).clawed == 5


def test_a_refund_takes_back_what_is_left(account: int) -> None:
    give(account, 30)
    clawed = claw(account, 10, 1)
    assert (clawed.applied, clawed.clawed, clawed.owed, clawed.balance) == (True, 10, 0, 20)
    line = statement.recent(db.session, account)[0]
    assert (line.kind, line.credits, line.reference) == ("claw", -10, "charge:1")


def test_what_was_spent_already_becomes_a_debt(account: int) -> None:
    give(account, 30)
    spend(account, 25)
    clawed = claw(account, 30, 1)
    assert (clawed.owed, clawed.balance) == (25, 0)
    assert shown(account) == (0, 0, 25)


def test_other_credits_are_not_touched_by_a_refund(account: int) -> None:
    give(account, 10)
    spend(account, 10)
    give(account, 20, "charge:2")
    claw(account, 10, 1)
    assert shown(account) == (20, 0, 10)


def test_a_refund_that_fails_gives_everything_back(account: int) -> None:
    give(account, 30)
    spend(account, 25)
    claw(account, 30, 1)
    restored = claw(account, 0, 2)
    assert (restored.owed, restored.balance) == (-25, 5)
    assert shown(account) == (5, 0, 0)
    assert statement.recent(db.session, account)[0].kind == "restore"


def test_the_same_target_again_changes_nothing(account: int) -> None:
    give(account, 30)
    claw(account, 10, 1)
    assert claw(account, 10, 2).applied
    assert [line.kind for line in statement.recent(db.session, account)] == ["claw", "grant"]


@pytest.mark.parametrize("version", [1, 2])
def test_a_state_that_was_read_earlier_cannot_overwrite_a_later_one(account: int, version: int) -> None:
    give(account, 30)
    claw(account, 10, 2)
    stale = claw(account, 30, version)
    assert (stale.applied, stale.clawed, stale.owed, stale.balance) == (False, 10, 0, 20)


def test_a_refund_of_what_was_never_granted_is_named(account: int) -> None:
    with pytest.raises(UnknownGrant, match="charge:9"):
        claw(account, 1, 1, "charge:9")


@pytest.mark.parametrize(("target", "version"), [(-1, 1), (31, 1), (5, 0)])
def test_a_target_or_version_that_cannot_be_is_refused(account: int, target: int, version: int) -> None:
    give(account, 30)
    with pytest.raises(ValueError, match=r"cannot be taken back|version"):
        claw(account, target, version)
    assert shown(account) == (30, 0, 0)


def test_credits_that_expired_unused_are_not_owed(account: int, clock: Clock) -> None:
    give(account, 30, expires_at=app_clock.now() + timedelta(days=1))
    spend(account, 5)
    clock.advance(days=2)
    claw(account, 30, 1)
    assert shown(account) == (0, 0, 5)
    claw(account, 0, 2)
    assert shown(account) == (0, 0, 0)


def test_a_refund_before_and_after_expiry_ends_in_the_same_state(
    account: int, other_account: int, clock: Clock
) -> None:
    until = app_clock.now() + timedelta(days=1)
    for each in (account, other_account):
        give(each, 30, expires_at=until)
        spend(each, 20)
    claw(account, 15, 1)
    clock.advance(days=2)
    claw(other_account, 15, 1)
    assert shown(account) == shown(other_account) == (0, 0, 5)


def test_credits_that_were_frozen_by_a_dispute_until_they_expired_can_be_used_for_a_week(
    account: int, clock: Clock
) -> None:
    give(account, 30, expires_at=app_clock.now() + timedelta(days=1))
    claw(account, 30, 1)
    clock.advance(days=40)
    claw(account, 0, 2)
    clock.advance(days=6)
    assert shown(account) == (30, 0, 0)
    clock.advance(days=2)
    assert shown(account) == (0, 0, 0)


def test_a_debt_paid_with_lasting_credits_is_not_given_back_as_expiring_ones(account: int, clock: Clock) -> None:
    give(account, 10, expires_at=app_clock.now() + timedelta(days=1))
    spend(account, 10)
    claw(account, 10, 1)
    give(account, 10, "charge:2")
    assert shown(account) == (0, 0, 0)
    clock.advance(days=2)
    claw(account, 0, 2)
    clock.advance(days=400)
    assert shown(account) == (10, 0, 0)


def test_a_debt_paid_with_lasting_credits_is_not_given_back_at_the_instant_of_expiry(
    account: int, clock: Clock, still_time: None
) -> None:
    give(account, 10, expires_at=app_clock.now() + timedelta(days=1))
    spend(account, 10)
    claw(account, 10, 1)
    give(account, 10, "charge:2")
    clock.advance(days=1)
    claw(account, 0, 2)
    kept = {source.source: source.expires_at for source in statement.balance(db.session, account).sources}
    assert kept == {"restored:2:charge:1": None}


def test_what_was_used_is_given_back_before_what_had_expired(account: int, clock: Clock) -> None:
    give(account, 10, expires_at=app_clock.now() + timedelta(days=1))
    spend(account, 3)
    clock.advance(days=2)
    assert claw(account, 10, 1).owed == 3
    assert claw(account, 5, 2).owed == -3
    assert shown(account) == (0, 0, 0)
    assert claw(account, 10, 3).owed == 3


def test_the_statement_says_why_credits_went_back_and_came_again(account: int) -> None:
    give(account, 30)
    for target, version, reason in ((10, 1, ""), (20, 2, "Refunded by Eve"), (10, 3, ""), (0, 4, "The refund failed")):
        write(clawback.claw_to, account, "charge:1", target, version=version, reason=reason)
    assert [line.reason for line in statement.recent(db.session, account, 4)] == [
        "The refund failed",
        "Refund or dispute undone: credits were given back",
        "Refunded by Eve",
        "Payment refunded or disputed: its credits were taken back",
    ]


def test_a_failed_refund_after_a_released_hold_overflows_into_a_bucket_of_its_own(account: int) -> None:
    give(account, 26)
    held = write(holds.reserve, account, 13, idempotency_key="a", reason="CV check", lease=timedelta(hours=1))
    claw(account, 26, 1)
    assert shown(account) == (0, 13, 13)
    give(account, 20, "charge:2")
    write(holds.release, held.hold_id)
    assert shown(account) == (20, 0, 0)
    claw(account, 0, 2)
    assert shown(account) == (46, 0, 0)
    kinds = {
        source.source: (source.kind, source.remaining) for source in statement.balance(db.session, account).sources
    }
    assert kinds == {
        "charge:1": ("purchase", 26),
        "charge:2": ("purchase", 7),
        "restored:2:charge:1": ("adjust", 13),
    }


def test_what_an_open_hold_may_bring_back_keeps_its_room_in_the_bucket(account: int) -> None:
    give(account, 10)
    held = write(holds.reserve, account, 4, idempotency_key="a", reason="CV check", lease=timedelta(hours=1))
    claw(account, 10, 1)
    give(account, 20, "charge:2")
    claw(account, 0, 2)
    assert shown(account) == (26, 4, 0)
    write(holds.release, held.hold_id)
    kinds = {source.source: source.remaining for source in statement.balance(db.session, account).sources}
    assert kinds == {"charge:1": 10, "charge:2": 16, "restored:2:charge:1": 4}


def test_a_forgiven_debt_is_a_gift_that_a_won_dispute_does_not_take(account: int) -> None:
    give(account, 10)
    spend(account, 10)
    claw(account, 10, 1)
    write(adjusting.forgive, account, 10, idempotency_key="a", reason="Goodwill", actor="Eve")
    claw(account, 0, 2)
    assert shown(account) == (10, 0, 0)


# Each is what happens at Stripe: the change of (refunded cents, is disputed) of a payment of 1000 cents.
EVENTS = {
    "refund of 100": lambda cents, disputed: (cents + 100, disputed),
    "refund of 250": lambda cents, disputed: (cents + 250, disputed),
    "refund of 50": lambda cents, disputed: (cents + 50, disputed),
    "full refund": lambda _, disputed: (1000, disputed),
    "refund failed": lambda cents, disputed: (cents - 50, disputed),
    "dispute opened": lambda cents, _: (cents, True),
    "dispute won": lambda cents, _: (cents, False),
}


def test_every_order_of_hearing_of_refunds_and_disputes_ends_in_the_same_state(account: int) -> None:
    give(account, 33)
    spend(account, 20)
    states = [(0, False)]
    for happening in EVENTS.values():
        states.append(happening(*states[-1]))
    targets = [
        clawback.target(33, paid_cents=1000, returned_cents=1000 if disputed else cents) for cents, disputed in states
    ]
    ends = set()
    round_ = 0
    for order in list(permutations(range(1, 6)))[::4]:
        for number in order:
            claw(account, targets[number], round_ + number)  # the version says when the state was read
        ends.add((targets[5], shown(account)))
        round_ += 10
        claw(account, 0, round_)
    assert len(ends) == 1
