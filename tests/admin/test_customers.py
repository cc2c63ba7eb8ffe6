"""What staff sees of customers and may change: every action once, with its line in the audit log."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import Session

import database
from accounts.audit import AuditEntry
from accounts.models import Account
from billing.models import SyncTask
from blueprints.admin import customers
from extensions import db
from ledger import freezing
from mail import outbox
from mail.models import Email
from tests.admin.office import Office
from tests.billing.forms import open_form, send
from tests.persons import sign_up
from tests.web.documents import Document
from tests.worlds import Clock
from web import gates


def test_customers_are_found_by_whatever_names_them(office: Office) -> None:
    ann = office.customer()
    ben = sign_up(office.staff.app, "ben_1@example.com")
    payment = office.payment(ann)
    with office.staff.app.app_context():
        customer = db.session.get_one(Account, ann.account_id)
    named = ("ann@ex", "ANN", customer.public_id, str(customer.stripe_customer_id), payment.stripe_charge_id)
    for text in (*named, str(payment.stripe_payment_intent_id), str(payment.stripe_checkout_session_id)):
        page = office.words(f"/admin/customers?q={text}")
        assert ann.email in page, text
        assert ben.email not in page, text
    assert "Nobody found" in office.words("/admin/customers?q=n%25n")
    assert ben.email in office.words("/admin/customers?q=ben_1")
    assert "Nobody found" in office.words("/admin/customers?q=be__1")
    everybody = office.words("/admin/customers")
    assert ann.email in everybody
    assert ben.email in everybody


def test_the_timeline_tells_everything_in_order(office: Office) -> None:
    ann = office.customer("pro_monthly")
    office.spend(ann, 52)
    office.refund(ann, "10.00")
    office.stripe.settle()
    page = office.words(office.path(ann))
    for said in ("Paid $30.00", "Refunded $10.00", "Subscribed to Pro", "CV report, some pages", "Mail: low balance"):
        assert said in page, said
    for said in ("charge.refunded", "Staff: refund decided", "by staff@example.com", "refunded cents 0 -> 1000"):
        assert said in page, said
    assert "charge.refunded" not in office.words(f"{office.path(ann)}?view=credits")
    assert "CV report, some pages" in office.words(f"{office.path(ann)}?view=credits")
    assert office.staff.client.get(f"{office.path(ann)}?view=secrets").status_code == 404
    assert office.staff.client.get(f"{office.path(ann)}?before=soon").status_code == 404


def test_the_timeline_goes_on_over_pages_and_misses_nothing(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(customers, "PAGE_SIZE", 3)
    ann = office.customer()
    for number in range(7):
        office.spend(ann, 1, key=f"n{number}")
    path, lines = f"{office.path(ann)}?view=credits", []
    while path:
        document = Document(office.staff.client.get(path).text)
        lines += [p.words for p in document.all("p") if p.attrs.get("class") == "timeline-title"]
        path = next((str(a.attrs["href"]) for a in document.all("a") if a.attrs.get("rel") == "next"), "")
    assert len(lines) == 9
    assert lines.count("CV report, some pages") == 7


def test_credits_are_added_once_with_a_reason_that_the_customer_reads(office: Office) -> None:
    ann = office.customer()
    path = office.path(ann)
    fields = {"adjust-credits": "12", "adjust-reason": "Sorry for the outage"}
    assert office.act(path, f"{path}/credits", times=3, **fields).status_code == 303
    assert office.balance(ann).total == 45
    assert "Sorry for the outage" in ann.client.get("/billing/statement").text
    assert office.audit() == [("credits.adjusted", "staff@example.com")]
    assert office.changes() == ({"balance": 33, "debt": 0}, {"balance": 45, "debt": 0})
    fields = {"adjust-credits": "-40", "adjust-reason": "Added by mistake"}
    assert office.act(path, f"{path}/credits", **fields).status_code == 303
    assert office.balance(ann).total == 5


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"adjust-credits": "0", "adjust-reason": "x"}, "other than 0"),
        ({"adjust-credits": "12", "adjust-reason": ""}, "Say why"),
        ({"adjust-credits": "a few", "adjust-reason": "x"}, "Use a whole number, such as 20."),
        ({"adjust-credits": "10000000", "adjust-reason": "x"}, "at most 1,000,000"),
        ({"adjust-credits": "9" * 400, "adjust-reason": "x"}, "Use a whole number, such as 20."),
        ({"adjust-credits": "-100", "adjust-reason": "x"}, "Only 33 credits are there"),
        ({"adjust-credits": "5", "adjust-reason": "x" * 301}, "at most 300"),
    ],
)
def test_an_adjustment_that_makes_no_sense_changes_nothing(office: Office, fields: dict[str, str], words: str) -> None:
    ann = office.customer()
    path = office.path(ann)
    answer = office.act(path, f"{path}/credits", **fields)
    assert answer.status_code in {409, 422}
    assert words in answer.text
    assert office.balance(ann).total == 33
    assert office.audit() == []


def test_a_debt_is_cancelled_in_part_and_never_beyond(office: Office) -> None:
    ann = office.customer()
    office.spend(ann, 33)
    office.refund(ann, "20.00")
    assert office.balance(ann).debt == 30
    path = office.path(ann)
    fields = {"forgive-credits": "20", "forgive-reason": "Half of it was our fault"}
    assert office.act(path, f"{path}/debt", times=2, **fields).status_code == 303
    assert office.balance(ann).debt == 10
    assert office.act(path, f"{path}/debt", **{**fields, "forgive-credits": "11"}).status_code == 409
    assert office.act(path, f"{path}/debt", **{**fields, "forgive-credits": "-1"}).status_code == 422
    assert office.balance(ann).debt == 10
    assert office.audit()[-1] == ("debt.forgiven", "staff@example.com")


def test_staff_pauses_and_resumes_spending(office: Office) -> None:
    ann = office.customer()
    path = office.path(ann)
    office.act(path, f"{path}/pause", **{"pause-reason": "We are looking into odd use"})
    assert office.balance(ann).frozen_reason == "We are looking into odd use"
    assert office.mails(ann) == ["spending_paused"]
    office.act(path, f"{path}/resume", **{"resume-cause": "staff", "resume-reason": "All fine"})
    assert office.balance(ann).frozen_reason is None
    office.act(path, f"{path}/pause", **{"pause-reason": "Once more"})
    assert office.balance(ann).frozen_reason == "Once more"
    actions = [action for action, _ in office.audit()]
    assert actions == ["spending.paused", "spending.resumed", "spending.paused"]


def test_a_cause_that_does_not_stand_cannot_be_lifted(office: Office) -> None:
    ann = office.customer()
    with office.staff.app.app_context():
        database.write(freezing.freeze, ann.account_id, "staff", reason="Odd use")
    path = office.path(ann)
    fields = {"resume-cause": "dispute:ch_made_up", "resume-reason": "x"}
    assert office.act(path, f"{path}/resume", **fields).status_code == 422
    assert office.balance(ann).frozen_reason == "Odd use"
    assert office.audit() == []


def test_what_was_given_up_is_fetched_again(office: Office) -> None:
    ann = office.customer()
    charge = office.payment(ann).stripe_charge_id

    def give_up(session: Session) -> None:
        task = session.get_one(SyncTask, ("charge", charge))
        task.state, task.last_error, task.dirty = "dead", "Stripe was away", task.dirty + 1

    with office.staff.app.app_context():
        database.write(give_up)
    assert "Stripe was away" in office.words("/admin/sync")
    assert office.act("/admin/sync", "/admin/sync/replay", times=2).status_code == 303
    office.stripe.settle()
    assert "Nothing was given up" in office.words("/admin/sync")
    assert office.audit() == [("sync.replayed", "staff@example.com")]
    fields = open_form(office.staff, office.path(ann), f"{office.path(ann)}/pause")
    unknown = {**fields, "kind": "charge", "object_id": "ch_unknown"}
    assert send(office.staff, "/admin/sync/replay", unknown).status_code == 404


def test_a_mail_that_was_given_up_is_sent_again(office: Office) -> None:
    ann = office.customer()

    def give_up(session: Session) -> None:
        outbox.queue(
            session,
            "password_changed",
            to=ann.email,
            context={"at": "2026-11-21T12:00+00:00"},
            dedupe_key="x",
            account_id=ann.account_id,
        )
        session.execute(sa.delete(Email).where(Email.template == "receipt"))
        session.execute(sa.update(Email).values(status="dead", attempts=15, last_error="550 no such mailbox"))

    with office.staff.app.app_context():
        database.write(give_up)
    (mail,) = office.all(Email)
    assert "550 no such mailbox" in office.words("/admin/mails")
    assert office.act("/admin/mails", f"/admin/mails/{mail.uuid}/resend", times=2).status_code == 303
    assert [(mail.status, mail.attempts) for mail in office.all(Email)] == [("pending", 0)]
    assert office.audit() == [("mail.resent", "staff@example.com")]
    with office.staff.app.app_context():
        outbox.send_due()
    assert [mail.status for mail in office.all(Email)] == ["kept"]


def test_the_audit_log_is_there_for_ever(office: Office) -> None:
    ann = office.customer()
    path = office.path(ann)
    office.act(path, f"{path}/credits", **{"adjust-credits": "1", "adjust-reason": "A gift"})
    assert "A gift" in office.words("/admin/audit")
    for statement in (sa.update(AuditEntry).values(actor="nobody"), sa.delete(AuditEntry)):
        with office.staff.app.app_context(), pytest.raises(sa.exc.DBAPIError, match="append-only"):
            database.write(lambda session, s=statement: session.execute(s))
    assert office.audit() == [("credits.adjusted", "staff@example.com")]


def test_a_form_without_its_number_or_token_does_nothing(office: Office) -> None:
    ann = office.customer()
    path = office.path(ann)
    fields = {"adjust-credits": "1", "adjust-reason": "A gift"}
    assert office.act(path, f"{path}/credits", **fields, _idem="").status_code == 400
    assert office.act(path, f"{path}/credits", **fields, csrf_token="").status_code == 400
    assert office.audit() == []


def test_whoever_is_let_go_sees_no_back_office_any_more(office: Office, clock: Clock) -> None:
    assert office.staff.client.get("/admin").status_code == 200
    assert "Back office" in office.staff.client.get("/dashboard").text

    def let_go(session: Session) -> None:
        session.execute(sa.text("DELETE FROM user_roles"))

    with office.staff.app.app_context():
        database.write(let_go)
    assert office.staff.client.get("/admin").status_code == 404
    assert "Back office" not in office.staff.client.get("/dashboard").text


def test_every_page_of_the_back_office_asks_for_staff(app: Flask) -> None:
    with app.app_context():
        pages = [endpoint for endpoint in app.view_functions if endpoint.startswith("admin.")]
        assert pages
        assert all(gates.demands_of(endpoint).staff for endpoint in pages)
