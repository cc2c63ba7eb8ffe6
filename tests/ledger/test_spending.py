"""Credits go out: all or nothing, once per key, in spend order."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, text, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

import clock as app_clock
from database import write
from extensions import db
from ledger import buckets, granting, holds, journal, spending, statement, wallets
from ledger.errors import IdempotencyConflict, LedgerCorrupt, NotEnoughCredits
from ledger.models import Bucket, Wallet
from prepared import Form
from tests.worlds import Clock


def spend(account: int, credits: int, key: str, **more: str) -> spending.Spent:
    return write(spending.spend, account, credits, idempotency_key=key, reason="CV check", **more)


def remaining(account: int) -> dict[str, int]:
    return {source.source: source.remaining for source in statement.balance(db.session, account).sources}


def test_a_spend_takes_its_credits_and_says_what_is_left(account: int) -> None:
    write(granting.grant, account, 10, kind="plan", source="invoice:1")
    spent = spend(account, 3, "a", reference="report:7", actor="Ann")
    assert (spent.credits, spent.balance, spent.is_replay) == (3, 7, False)
    line = statement.recent(db.session, account)[0]
    assert (line.id, line.kind, line.credits, line.balance, line.used) == (spent.transaction_id, "spend", -3, 7, 3)
    assert (line.reason, line.reference, line.actor) == ("CV check", "report:7", "Ann")


def test_more_than_there_is_cannot_be_spent_and_nothing_is_taken(account: int) -> None:
    write(granting.grant, account, 10, kind="plan", source="invoice:1")
    with pytest.raises(NotEnoughCredits) as refused:
        spend(account, 11, "a")
    assert (refused.value.needed, refused.value.balance, refused.value.missing) == (11, 10, 1)
    assert refused.value.status == 402
    assert statement.balance(db.session, account).total == 10


def test_an_account_that_never_had_credits_cannot_spend(account: int) -> None:
    with pytest.raises(NotEnoughCredits):
        spend(account, 1, "a")
    assert statement.balance(db.session, account) == statement.Balance(0, 0, 0, None, [])


def test_the_same_key_is_charged_once_and_answers_the_same(account: int) -> None:
    write(granting.grant, account, 10, kind="plan", source="invoice:1")
    first = spend(account, 3, "a")
    spend(account, 5, "b")
    again = spend(account, 3, "a")
    assert (again.transaction_id, again.credits, again.balance) == (first.transaction_id, 3, 7)
    assert again.is_replay
    assert statement.balance(db.session, account).total == 2


def test_a_repeated_spend_is_answered_even_when_nothing_is_left(account: int) -> None:
    write(granting.grant, account, 3, kind="plan", source="invoice:1")
    first = spend(account, 3, "a")
    assert spend(account, 3, "a").transaction_id == first.transaction_id


@pytest.mark.parametrize(("credits", "request_hash"), [(4, "form"), (3, "other form")])
def test_the_same_key_for_another_request_is_a_conflict(account: int, credits: int, request_hash: str) -> None:
    write(granting.grant, account, 10, kind="plan", source="invoice:1")
    spend(account, 3, "a", request_hash="form")
    with pytest.raises(IdempotencyConflict, match="'a'"):
        spend(account, credits, "a", request_hash=request_hash)
    with pytest.raises(IdempotencyConflict):
        spend(account, 999, "a", request_hash=request_hash)
    assert statement.balance(db.session, account).total == 7


def test_a_refused_spend_leaves_its_key_free(account: int) -> None:
    with pytest.raises(NotEnoughCredits):
        spend(account, 3, "a")
    write(granting.grant, account, 3, kind="plan", source="invoice:1")
    assert not spend(account, 3, "a").is_replay


def test_a_refusal_that_the_caller_survives_leaves_nothing_behind(account: int) -> None:
    write(granting.grant, account, 3, kind="plan", source="invoice:1")

    def spend_what_can_be_spent(session: Session) -> None:
        with pytest.raises(NotEnoughCredits):
            spending.spend(session, account, 4, idempotency_key="a", reason="CV check")
        spending.spend(session, account, 3, idempotency_key="a", reason="CV check")

    write(spend_what_can_be_spent)
    assert [line.credits for line in statement.recent(db.session, account)] == [-3, 3]


def test_a_key_of_one_account_says_nothing_to_another(account: int, other_account: int) -> None:
    for each in (account, other_account):
        write(granting.grant, each, 3, kind="plan", source="invoice:1")
        assert not spend(each, 3, "a").is_replay


def test_credits_go_by_expiry_then_gifts_then_plan_then_purchases_then_age(account: int) -> None:
    soon = app_clock.now() + timedelta(days=1)
    later = app_clock.now() + timedelta(days=2)
    for source, kind, expires_at in (
        ("purchase 1", "purchase", None),
        ("purchase 2", "purchase", None),
        ("plan", "plan", None),
        ("gift", "promo", None),
        ("later purchase", "purchase", later),
        ("later plan", "plan", later),
        ("later trial", "trial", later),
        ("soon purchase", "purchase", soon),
    ):
        write(granting.grant, account, 1, kind=kind, source=source, expires_at=expires_at)
    order = []
    for number in range(8):
        before = remaining(account)
        spend(account, 1, f"key {number}")
        order += sorted(set(before) - set(remaining(account)))
    assert order == [
        "soon purchase",
        "later trial",
        "later plan",
        "later purchase",
        "gift",
        "plan",
        "purchase 1",
        "purchase 2",
    ]
    assert list(before) == ["purchase 2"]


def test_the_balance_lists_its_sources_in_the_order_they_will_be_spent(account: int) -> None:
    write(granting.grant, account, 1, kind="purchase", source="pack")
    write(granting.grant, account, 1, kind="plan", source="plan", expires_at=app_clock.now() + timedelta(days=9))
    assert list(remaining(account)) == ["plan", "pack"]


def test_one_spend_can_empty_several_buckets(account: int) -> None:
    for source in ("a", "b", "c"):
        write(granting.grant, account, 5, kind="purchase", source=source)
    spend(account, 12, "key")
    assert remaining(account) == {"c": 3}


def test_expired_credits_cannot_be_spent_even_before_the_sweep(account: int, clock: Clock) -> None:
    write(granting.grant, account, 5, kind="plan", source="plan", expires_at=app_clock.now() + timedelta(days=1))
    write(granting.grant, account, 2, kind="purchase", source="pack")
    clock.advance(days=2)
    with pytest.raises(NotEnoughCredits) as refused:
        spend(account, 3, "a")
    assert refused.value.balance == 2
    assert spend(account, 2, "b").balance == 0
    assert [line.kind for line in statement.recent(db.session, account)][:2] == ["spend", "expire"]


def test_only_the_spend_that_crosses_a_threshold_says_so(account: int) -> None:
    write(granting.grant, account, 10, kind="plan", source="plan")
    assert not spend(account, 5, "a").crosses(5)
    crossing = spend(account, 1, "b")
    assert crossing.crosses(5)
    assert not spend(account, 1, "b").crosses(5)
    assert not spend(account, 1, "c").crosses(5)


def test_an_ordinary_spend_takes_five_statements_and_a_look_at_the_auto_top_up(
    account: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(granting.grant, account, 10, kind="plan", source="a", expires_at=app_clock.now() + timedelta(days=1))
    write(granting.grant, account, 10, kind="purchase", source="b")
    five = ["SELECT", "INSERT", "UPDATE", "INSERT", "UPDATE"]
    seen: list[str] = []

    def record(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        seen.append(statement.split()[0])

    def record_prepared(form: Form, given: Mapping[str, Any]) -> Any:
        record(None, None, form.sql)
        return values(form, given)

    values = Form.values
    monkeypatch.setattr(Form, "values", record_prepared)
    event.listen(db.engine, "before_cursor_execute", record)
    spend(account, 3, "a")
    event.remove(db.engine, "before_cursor_execute", record)
    assert [verb for verb in seen if verb != "BEGIN"] == [*five, "UPDATE"]


def test_a_connection_that_dies_under_a_spend_takes_the_spend_back_and_is_forgotten(account: int) -> None:
    if db.engine.dialect.name == "sqlite":
        pytest.skip("a file does not hang up")
    write(granting.grant, account, 5, kind="plan", source="plan")

    def spend_as_the_server_goes(session: Session) -> None:
        pid = session.execute(text("SELECT pg_backend_pid()")).scalar_one()
        with db.engine.connect() as other:
            other.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
        spending.spend(session, account, 3, idempotency_key="a", reason="CV check")

    with pytest.raises(OperationalError) as met:
        write(spend_as_the_server_goes)
    assert met.value.connection_invalidated
    assert spend(account, 3, "a").balance == 2


def test_a_first_look_tells_which_keys_have_been_charged(account: int, other_account: int) -> None:
    write(granting.grant, account, 10, kind="plan", source="invoice:1")
    spend(account, 1, "a")
    write(holds.reserve, account, 1, idempotency_key="b", reason="CV check", lease=timedelta(hours=1))
    assert [spending.is_paid(db.session(), account, key) for key in ("a", "b", "c")] == [True, True, False]
    assert not spending.is_paid(db.session(), other_account, "a")


@pytest.mark.parametrize("credits", [0, -3, 2.0, True])
def test_what_is_no_number_of_credits_cannot_be_spent(account: int, credits: object) -> None:
    with pytest.raises(ValueError, match="whole number"):
        write(spending.spend, account, credits, idempotency_key="a", reason="CV check")


def test_a_key_without_content_is_refused(account: int) -> None:
    with pytest.raises(ValueError, match="key"):
        spend(account, 1, "")


def test_a_spend_from_a_ledger_that_contradicts_itself_stops(account: int) -> None:
    write(granting.grant, account, 3, kind="plan", source="plan")

    def spend_from_damaged_buckets(session: Session) -> None:
        session.execute(update(Bucket).values(remaining=1))
        spending.spend(session, account, 3, idempotency_key="a", reason="CV check")

    def spend_from_a_damaged_wallet(session: Session) -> None:
        wallet = journal.LockedWallet(session.connection(), account, 9, 0, None, None, app_clock.now())
        note = journal.Note("too much")
        moves = [journal.Move(journal.Book.AVAILABLE, journal.Book.CONSUMED, 4)]
        journal.write(wallet, journal.TransactionKind.SPEND, note, moves=moves)

    def draw_more_than_there_is(session: Session) -> None:
        buckets.draw_one(wallets.lock(session, account), buckets.Line(1, 4))

    for damage in (spend_from_damaged_buckets, spend_from_a_damaged_wallet, draw_more_than_there_is):
        with pytest.raises(LedgerCorrupt):
            write(damage)
    assert db.session.get(Wallet, account).balance == 3
