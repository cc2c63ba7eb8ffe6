"""What was billed, on pages of our own: listed, paged, printed, and told by mail once."""

from __future__ import annotations

import dataclasses
import json
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import event, select
from sqlalchemy.orm import Session

import clock as app_clock
import database
from billing.models import Payment
from extensions import db
from mail import outbox, preparing, rendering
from mail.models import Email
from mail.preparing import NotNeeded, Prepared
from tests.billing import subscribers
from tests.billing.subscribers import billing_page, subscriber
from tests.persons import Person, sign_up
from tests.web.documents import Document
from tests.worlds import Clock, Stripe

ORDERS = pytest.mark.parametrize(("order", "times"), [("as_is", 1), ("reversed", 2)])


def mails(ann: Person, *templates: str) -> list[Email]:
    with ann.app.app_context():
        query = select(Email).where(Email.account_id == ann.account_id, Email.template.in_(templates))
        return list(db.session.scalars(query.order_by(Email.id)))


def words_of(ann: Person, mail: Email) -> str:
    with ann.app.app_context():
        prepared = preparing.prepare(db.session(), Prepared(mail.template, mail.to_address, json.loads(mail.context)))
        message = rendering.render(prepared, mail.uuid)
        body = message.get_body(("plain",))
        assert body is not None
        return f"{message['Subject']}\n{body.get_content()}"


def main_of(page: str) -> str:
    return Document(page).all("main")[0].words


def test_each_invoice_and_pack_is_listed_with_its_amount_credits_and_papers(
    app: Flask, stripe: Stripe, clock: Clock
) -> None:
    ann = subscriber(stripe)
    clock.advance(minutes=5)
    stripe.pay(ann.checkout("credits_12"))
    stripe.settle()
    page = billing_page(ann, "/billing/invoices")
    invoice = stripe.api.v1.invoices.list().data[0]
    assert f'href="{invoice.hosted_invoice_url}"' in page
    assert f'href="{invoice.invoice_pdf}"' in page
    words = main_of(page)
    assert invoice.number in words
    assert words.index("12 credits") < words.index("Pro, monthly")
    assert "$10.00 +12 Paid" in words
    assert "$30.00 +50 Paid" in words


def test_the_list_asks_nobody_at_stripe_and_has_pages(app: Flask, stripe: Stripe) -> None:
    ann = sign_up(app)

    def pay_often(session: Session) -> None:
        for number in range(45):
            session.add(
                Payment(
                    account_id=ann.account_id,
                    stripe_charge_id=f"ch_{number}",
                    kind="pack",
                    description=f"Pack {number}",
                    amount_cents=500,
                    currency="usd",
                    paid_at=app_clock.now() - timedelta(hours=number),
                )
            )

    with app.app_context():
        database.write(pay_often)
    stripe.sandbox.break_api("500", times=99)
    found = [billing_page(ann, f"/billing/invoices?page={n}") for n in (1, 2, 3)]
    stripe.sandbox.heal()
    assert [">Pack 0<" in found[0], ">Pack 20<" in found[1], ">Pack 44<" in found[2]] == [True, True, True]
    assert ("Older" in found[0], "Older" in found[2], "Newer" in found[2]) == (True, False, True)
    assert "There is nothing on this page" in main_of(billing_page(ann, "/billing/invoices?page=9"))
    for odd in ("-1", "0", "x", "99999999999999999999"):
        assert ann.client.get(f"/billing/invoices?page={odd}").status_code == 200


def test_a_page_of_invoices_costs_the_same_however_many_there_are(app: Flask, stripe: Stripe, clock: Clock) -> None:
    ann = subscriber(stripe)
    counts = []
    with app.app_context():
        engine = db.engine
    for _ in range(2):
        asked: list[str] = []

        def remember(_c: object, _cursor: object, statement: str, *_rest: object, asked: list[str] = asked) -> None:
            asked.append(statement)

        event.listen(engine, "before_cursor_execute", remember)
        billing_page(ann, "/billing/invoices")
        event.remove(engine, "before_cursor_execute", remember)
        counts.append(len(asked))
        subscribers.pass_time(stripe, clock, ann, days=31, hours=2)
    assert counts[0] == counts[1]


def test_a_receipt_says_who_sold_what_to_whom_and_what_came_back(
    app: Flask, stripe: Stripe, monkeypatch: pytest.MonkeyPatch
) -> None:
    seller = {"seller_name": "Gate Ltd", "seller_address": ("1 Toll Road", "Dover"), "seller_tax_id": "GB123"}
    monkeypatch.setitem(app.jinja_env.globals, "settings", dataclasses.replace(app.config["TOLLGATE"], **seller))
    ann = subscriber(stripe)
    invoice = stripe.api.v1.invoices.list().data[0]
    intent = stripe.sandbox_object("payment_intent")["id"]
    stripe.api.v1.refunds.create({"payment_intent": intent, "amount": 1000})
    stripe.settle()
    words = main_of(billing_page(ann, f"/billing/receipts/{invoice.id}"))
    for said in ("Gate Ltd", "1 Toll Road", "Tax ID GB123", "ann@example.com", invoice.number, "+50"):
        assert said in words, (said, words)
    assert "Total $30.00" in words
    assert "Paid back" in words
    assert "You paid in all $20.00" in words
    assert sign_up(app, "bob@example.com").client.get(f"/billing/receipts/{invoice.id}").status_code == 404


@ORDERS
def test_each_payment_has_one_receipt_mail_and_each_refunded_amount_one(
    app: Flask, stripe: Stripe, clock: Clock, order: str, times: int
) -> None:
    ann = sign_up(app)
    stripe.pay(ann.checkout("pro_monthly"))
    stripe.pay(ann.checkout("credits_12"))
    stripe.settle(order=order, times=times)
    receipts = mails(ann, "receipt")
    assert sorted(words_of(ann, mail).splitlines()[0] for mail in receipts) == [
        "Your receipt for $10.00 at Tollgate",
        "Your receipt for $30.00 at Tollgate",
    ]
    assert any("It brought you 12 credits." in words_of(ann, mail) for mail in receipts)
    assert any("for: Pro, monthly." in words_of(ann, mail) for mail in receipts), "as the list of invoices says it"

    charge = stripe.sandbox_object("charge")["id"]
    stripe.api.v1.refunds.create({"charge": charge, "amount": 300})
    stripe.settle(order=order, times=times)
    with app.app_context():
        outbox.send_due()
    stripe.api.v1.refunds.create({"charge": charge})
    stripe.settle(order=order, times=times)
    first, second = mails(ann, "refund")
    assert "$10.00 paid back to you" in words_of(ann, second)
    assert first.status == "kept"
    with pytest.raises(NotNeeded):
        words_of(ann, first)  # had it waited until now, the later one says more
    clock.advance(days=4)
    stripe.settle(order=order, times=times)
    assert len(mails(ann, "receipt", "refund")) == 4


def test_where_stripe_sends_the_receipts_we_send_none(
    app: Flask, stripe: Stripe, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = dataclasses.replace(app.config["TOLLGATE"], receipt_mails=False)
    monkeypatch.setitem(app.config, "TOLLGATE", silent)
    assert mails(subscriber(stripe), "receipt") == []


def test_payments_that_are_no_news_are_not_told_again(app: Flask, stripe: Stripe) -> None:
    ann = sign_up(app)
    stripe.pay(ann.checkout("credits_5"))
    app_clock.travel(timedelta(days=4))  # the app's alone: it hears of the payment days later
    stripe.settle()
    assert (ann.balance_of("purchase"), mails(ann, "receipt")) == (5, [])
