"""The doctor finds each seeded fault, says what to do, and finds nothing on a healthy patient."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from datetime import timedelta

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import Session

import clock as app_clock
import database
from accounts.models import Account
from billing import doctor, doctor_stripe, pulse
from billing.address_errands import AddressErrand
from billing.models import CheckoutIntent, Cursor, Payment, PlanGrant, StripeEvent, Subscription, SyncTask
from extensions import Base, db
from ledger import holds
from ledger.models import Bucket, Hold
from mail.models import Email
from stripe_sandbox import api as sandbox_api
from stripe_sandbox import deliveries
from stripe_sandbox.errors import StripeError as SandboxError
from tests.persons import Person, sign_up
from tests.worlds import Stripe


def findings(app: Flask) -> dict[str, list[doctor.Finding]]:
    with app.app_context():
        return {check.name: found for check, found in doctor.examine(db.session()) if found}


@pytest.fixture
def patient(app: Flask, stripe: Stripe) -> Person:
    ann = sign_up(app)
    stripe.pay(ann.checkout("credits_30"))
    stripe.pay(ann.checkout("pro_monthly"))
    stripe.settle()
    return ann


def test_a_healthy_patient_has_nothing(app: Flask, patient: Person) -> None:
    assert findings(app) == {}


# What is damaged behind the app's back, by the invariant that it breaks, and the check that must notice.
def sql(*statements: str) -> Callable[[Session], None]:
    def damage(session: Session) -> None:
        for statement in statements:
            session.execute(sa.text(statement))

    return damage


def a_copy_of(session: Session, table: type[Base], **changes: object) -> None:
    row = session.scalars(sa.select(table)).first()
    values = {column.key: getattr(row, column.key) for column in table.__table__.columns if column.key != "id"}
    session.execute(sa.insert(table).values({**values, **changes}))


def balance_below_zero(session: Session) -> None:
    if session.get_bind().dialect.name == "sqlite":
        session.execute(sa.text("PRAGMA ignore_check_constraints = ON"))
    else:
        session.execute(sa.text("ALTER TABLE wallets DROP CONSTRAINT ck_wallets_balance"))
    session.execute(sa.text("UPDATE wallets SET balance = -1"))


def payment_without_grant(session: Session) -> None:
    session.execute(sa.update(Payment).where(Payment.kind == "pack").values(grant_source="charge:ch_of_nobody"))


def payment_granted_twice(session: Session) -> None:
    granted = sa.select(Bucket.payment_ref).where(Bucket.kind == "purchase").scalar_subquery()
    session.execute(sa.update(Bucket).where(Bucket.kind == "plan").values(kind="purchase", payment_ref=granted))


def grant_outside_the_ledger(session: Session) -> None:
    session.execute(sa.update(PlanGrant).values(source=PlanGrant.source + ":lost"))


def period_granted_twice(session: Session) -> None:
    row = session.scalars(sa.select(PlanGrant).where(PlanGrant.stripe_invoice_id.is_not(None))).one()
    values = {column.key: getattr(row, column.key) for column in PlanGrant.__table__.columns if column.key != "id"}
    session.execute(sa.insert(PlanGrant).values({**values, "source": "invoice:in_again"}))


def second_trial(session: Session) -> None:
    session.execute(sa.update(Bucket).values(kind="trial"))
    first = sa.select(sa.func.min(PlanGrant.id)).scalar_subquery()
    session.execute(sa.update(PlanGrant).where(PlanGrant.id == first).values(stripe_subscription_id="sub_1"))


def second_subscription(session: Session) -> None:
    a_copy_of(session, Subscription, stripe_id="sub_2", is_primary=False)


def mail_that_never_arrived(session: Session) -> None:
    values = {"uuid": "u", "dedupe_key": "d", "to_address": "a@example.com", "template": "receipt", "context": "{}"}
    session.add(Email(**values, status="dead", attempts=15, last_error="550 no such user", next_at=app_clock.now()))


def mail_that_never_left(session: Session) -> None:
    values = {"uuid": "u", "dedupe_key": "d", "to_address": "a@example.com", "template": "receipt", "context": "{}"}
    session.add(Email(**values, status="pending", next_at=app_clock.now() - timedelta(hours=2)))


def address_never_told(session: Session) -> None:
    session.add(AddressErrand(account_id=1, wanted=2, told=1, attempts=10, next_at=app_clock.now()))


def foreign_event_with_an_effect(session: Session) -> None:
    session.execute(sa.update(StripeEvent).values(livemode=True))


def foreign_events_without_effect(session: Session) -> None:
    session.execute(sa.update(StripeEvent).values(livemode=True, object_kind=None))


def subscription_moved_to_another(session: Session) -> None:
    session.execute(sa.update(Subscription).values(account_id=other_account(session)))


def payment_moved_to_another(session: Session) -> None:
    session.execute(sa.update(Payment).values(account_id=other_account(session), grant_source=None))


def other_account(session: Session) -> int:
    account = Account(name="Ben")
    session.add(account)
    session.flush()
    return account.id


def journal_that_can_be_changed(session: Session) -> None:
    on = "" if session.get_bind().dialect.name == "sqlite" else " ON ledger_entries"
    session.execute(sa.text(f"DROP TRIGGER ledger_entries_never_update{on}"))


def plan_that_is_not_sold(session: Session) -> None:
    session.execute(sa.update(Subscription).values(plan_key=None, price_key=None))


def worker_asleep(session: Session) -> None:
    long_ago = app_clock.now() - timedelta(minutes=5)
    session.add(SyncTask(kind="charge", object_id="ch_1", dirty=1, next_at=long_ago, first_dirty_at=long_ago))


def worker_gone(session: Session) -> None:
    session.add(Cursor(name=pulse.WORKER, position=1, moved_at=app_clock.now() - timedelta(minutes=5)))


def task_given_up(session: Session) -> None:
    session.add(SyncTask(kind="charge", object_id="ch_1", dirty=1, state="dead", next_at=app_clock.now(), attempts=12))


def checkout_left_open(session: Session) -> None:
    long_ago = app_clock.now() - timedelta(days=3)
    session.execute(sa.update(CheckoutIntent).values(status="open", expires_at=long_ago))


def webhooks_never_arrive(session: Session) -> None:
    session.execute(sa.update(StripeEvent).values(source="poll"))


def wrong_signing_secret(session: Session) -> None:
    session.execute(sa.delete(StripeEvent))
    pulse.note(session, pulse.SIGNATURE_REFUSED)


def hold_never_released(session: Session) -> None:
    holds.reserve(session, 1, 2, idempotency_key="h", reason="CV check", lease=timedelta(minutes=1))
    session.execute(sa.update(Hold).values(expires_at=app_clock.now() - timedelta(hours=2)))


def key_refused(session: Session) -> None:
    pulse.note(session, pulse.KEY_REFUSED)


ENTRY = "INSERT INTO ledger_entries (transaction_id, line, book, bucket_id, amount) VALUES "
SPEND = (
    "INSERT INTO ledger_transactions (account_id, kind, credits, debt, used, balance_after, reason, at) "
    "SELECT account_id, 'spend', -1, 0, 1, balance, '', opened_at FROM wallets"
)
FAULTS: list[tuple[str, Callable[[Session], None], str]] = [
    ("I1", sql("UPDATE wallets SET balance = balance + 1"), "ledger"),
    ("I2", sql("UPDATE buckets SET remaining = remaining - 1"), "ledger"),
    ("I3", sql("UPDATE wallets SET held = held + 1"), "ledger"),
    ("I4", sql("UPDATE wallets SET debt = debt + 1"), "ledger"),
    ("I5", sql(ENTRY + "(1, 9, 'consumed', 1, 5)"), "ledger"),
    ("I6", sql(ENTRY + "(1, 8, 'available', 1, -1), (1, 9, 'available', 2, 1)"), "ledger"),
    ("I7", balance_below_zero, "ledger"),
    ("I8", payment_without_grant, "every payment has its credits"),
    ("I8", payment_granted_twice, "no payment is granted twice"),
    ("I8", grant_outside_the_ledger, "every plan's grant is in the ledger"),
    ("I9", sql("UPDATE payments SET refunded_cents = 100"), "what went back was taken back"),
    ("I9", sql("UPDATE payments SET dispute_status = 'lost'"), "what went back was taken back"),
    ("I10", period_granted_twice, "no period gets more than its best plan"),
    ("I11", second_trial, "one trial per account"),
    ("I12", sql("UPDATE subscriptions SET is_primary = false"), "who pays has what was paid for"),
    ("I12", worker_asleep, "the worker keeps up"),
    ("I13", second_subscription, "one live subscription per account"),
    ("I14", mail_that_never_arrived, "mail leaves"),
    ("I14", mail_that_never_left, "mail leaves"),
    ("I15", sql(SPEND), "ledger"),
    ("I16", foreign_event_with_an_effect, "nothing comes of foreign events"),
    ("I17", subscription_moved_to_another, "everything belongs to its owner"),
    ("I17", payment_moved_to_another, "everything belongs to its owner"),
    ("I18", journal_that_can_be_changed, "ledger"),
    ("", foreign_events_without_effect, "nothing comes of foreign events"),
    ("", plan_that_is_not_sold, "subscriptions are of the catalogue"),
    ("", worker_gone, "the worker keeps up"),
    ("", hold_never_released, "the worker keeps up"),
    ("", task_given_up, "nothing was given up"),
    ("", address_never_told, "Stripe knows whose an account is"),
    ("", checkout_left_open, "checkouts end"),
    ("", webhooks_never_arrive, "webhooks arrive"),
    ("", wrong_signing_secret, "webhooks arrive"),
    ("", key_refused, "the worker's key is accepted"),
]


class Undone(Exception):
    """Rolls a damage back."""


def found_after(damage: Callable[[Session], None]) -> dict[str, list[doctor.Finding]]:
    """Return what the doctor finds of the books while they are damaged."""
    found: dict[str, list[doctor.Finding]] = {}

    def damage_and_look(session: Session) -> None:
        damage(session)
        session.flush()
        found.update({check.name: told for check, told in doctor.examine(session, offline=True) if told})
        raise Undone

    with pytest.raises(Undone):
        database.write(damage_and_look)
    return found


def test_each_invariant_and_each_mistake_is_noticed_when_it_is_broken(app: Flask, patient: Person) -> None:
    with app.app_context():
        assert found_after(lambda _: None) == {}
        for invariant, damage, check in FAULTS:
            found = found_after(damage)
            db.engine.dispose()  # a pragma of SQLite outlives the transaction
            assert check in found, f"{invariant} {damage}: only {sorted(found)}"
            assert all(f.problem and f.remedy for told in found.values() for f in told)
            told_of = {number for told in found.values() for f in told for number in f.invariants}
            assert not invariant or invariant in told_of
    assert {invariant for invariant, _, _ in FAULTS if invariant} == {f"I{number}" for number in range(1, 19)}


def test_the_ledgers_faults_are_told_by_rule_and_row(app: Flask, patient: Person) -> None:
    with app.app_context():
        (told, *_) = found_after(sql("UPDATE wallets SET balance = balance + 1"))["ledger"]
    assert told.problem.startswith("I1 wallet 1: the balance is")


def another_database(session: Session) -> None:
    session.execute(sa.text("UPDATE accounts SET stripe_customer_id = 'cus_of_another_mode'"))


def status_differs(session: Session) -> None:
    session.execute(sa.update(Subscription).values(stripe_status="past_due"))


def free_here(session: Session) -> None:
    session.execute(sa.delete(Subscription))


def live_here_only(session: Session) -> None:
    session.execute(sa.update(Subscription).values(is_primary=False))
    a_copy_of(session, Subscription, stripe_id="sub_elsewhere", is_primary=True)


@pytest.mark.parametrize(
    ("fault", "check", "words"),
    [
        (another_database, "the database belongs to this Stripe account", "does not know the customer"),
        (status_differs, "subscriptions agree with Stripe's", "differs in stripe_status"),
        (free_here, "subscriptions agree with Stripe's", "is not here"),
        (live_here_only, "subscriptions agree with Stripe's", "sub_elsewhere is active here and not live at Stripe"),
    ],
)
def test_what_only_stripe_can_tell_is_found(
    app: Flask, stripe: Stripe, patient: Person, fault: Callable[[Session], None], check: str, words: str
) -> None:
    stripe.expect_violation("No such customer")
    with app.app_context():
        database.write(fault)
    found = findings(app)
    assert check in found, f"found only {sorted(found)}"
    assert any(words in finding.problem for finding in found[check])


def test_a_price_that_stripe_does_not_sell_is_found(app: Flask, stripe: Stripe, patient: Person) -> None:
    price = stripe.api.v1.prices.list({"lookup_keys": ["cv_credits_5"]}).data[0]
    stripe.api.v1.prices.update(price.id, {"active": False})
    assert "Stripe sells the catalogue" in findings(app)


def test_a_portal_that_is_not_set_up_is_found(app: Flask, stripe: Stripe, patient: Person) -> None:
    for configuration in stripe.api.v1.billing_portal.configurations.list().data:
        if not configuration.is_default:
            stripe.api.v1.billing_portal.configurations.update(configuration.id, {"active": False})
    assert any("Customer Portal" in f.problem for f in findings(app)["Stripe sells the catalogue"])


def test_a_disabled_endpoint_of_an_old_version_is_found(app: Flask, stripe: Stripe, patient: Person) -> None:
    endpoint = stripe.api.v1.webhook_endpoints.list().data[0]
    stripe.api.v1.webhook_endpoints.update(endpoint.id, {"disabled": True})
    assert any("is disabled" in f.problem for f in findings(app)["Stripe's webhook endpoint"])
    old = {"id": "we_1", "status": "enabled", "api_version": "2024-06-20", "enabled_events": ["*"]}
    (told,) = doctor_stripe._endpoint_problems(old)
    assert "2024-06-20" in told[0]


def test_an_endpoint_at_another_address_is_found(app: Flask, stripe: Stripe, patient: Person) -> None:
    endpoint = stripe.api.v1.webhook_endpoints.list().data[0]
    stripe.api.v1.webhook_endpoints.update(endpoint.id, {"url": "https://old.example.com/webhooks/stripe"})
    (finding,) = findings(app)["Stripe's webhook endpoint"]
    assert "https://old.example.com/webhooks/stripe" in finding.problem
    assert "APP_BASE_URL" in finding.problem


def test_a_site_without_a_signing_secret_is_told(app: Flask, stripe: Stripe, monkeypatch: pytest.MonkeyPatch) -> None:
    without = dataclasses.replace(app.config["TOLLGATE"], stripe_webhook_secrets=())
    monkeypatch.setitem(app.config, "TOLLGATE", without)
    (finding,) = findings(app)["webhooks arrive"]
    assert "no signing secret is set" in finding.problem


def test_a_key_that_stripe_refuses_is_told_from_a_stripe_that_is_away(
    app: Flask, stripe: Stripe, monkeypatch: pytest.MonkeyPatch
) -> None:
    stripe.sandbox.break_api("unreachable")
    (finding,) = findings(app)["Stripe accepts the key"]
    assert "cannot be reached" in finding.problem
    stripe.sandbox.heal()

    def authenticate(_: object) -> None:
        raise SandboxError("Invalid API Key provided: sk_test_****.", status=401)

    monkeypatch.setattr(sandbox_api, "authenticate", authenticate)
    (finding,) = findings(app)["Stripe accepts the key"]
    assert "refuses the key" in finding.problem


def test_a_wrong_signing_secret_is_told_after_the_first_webhook(app: Flask, stripe: Stripe) -> None:
    headers = {"Stripe-Signature": deliveries.sign(b"{}", ["whsec_of_another_endpoint"])}
    assert app.test_client().post("/webhooks/stripe", data=b"{}", headers=headers).status_code == 400
    (finding,) = findings(app)["webhooks arrive"]
    assert "signed with a secret that is not ours" in finding.problem


def test_junk_from_strangers_is_no_wrong_secret(app: Flask, stripe: Stripe) -> None:
    for signature in ("", "t=1,v1=x" * 200, "\xff"):
        app.test_client().post("/webhooks/stripe", data=b"{}", headers={"Stripe-Signature": signature})
    assert findings(app) == {}


def test_a_doctor_who_cannot_ask_stripe_says_so_by_another_status(app: Flask, stripe: Stripe, patient: Person) -> None:
    runner = app.test_cli_runner()
    stripe.sandbox.break_api("500", path="/v1/webhook_endpoints")
    assert runner.invoke(args=["doctor"]).exit_code == 2
    with app.app_context():
        database.write(task_given_up)
    assert runner.invoke(args=["doctor"]).exit_code == 1


def test_a_missing_endpoint_and_missing_event_types_are_found(app: Flask, stripe: Stripe, patient: Person) -> None:
    endpoint = stripe.api.v1.webhook_endpoints.list().data[0]
    stripe.api.v1.webhook_endpoints.update(endpoint.id, {"enabled_events": ["invoice.paid"]})
    assert any("charge.refunded" in f.problem for f in findings(app)["Stripe's webhook endpoint"])
    stripe.api.v1.webhook_endpoints.delete(endpoint.id)
    assert any("no webhook endpoint" in f.problem for f in findings(app)["Stripe's webhook endpoint"])


def test_the_command_says_what_is_wrong_and_fails(app: Flask, patient: Person) -> None:
    runner = app.test_cli_runner()
    healthy = runner.invoke(args=["doctor"])
    assert healthy.exit_code == 0
    assert "wrong" not in healthy.output
    with app.app_context():
        database.write(task_given_up)
    ill = runner.invoke(args=["doctor", "--offline", "--json"])
    assert ill.exit_code == 1
    (told,) = json.loads(ill.output)
    assert told["check"] == "nothing was given up"
    assert told["remedy"].endswith("flask webhooks replay ch_1")
    assert told["invariants"] == ["I8", "I12"]
