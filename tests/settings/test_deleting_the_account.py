"""The end of an account: said before, refused where money or others hang on it, whole, and with books that agree."""

from __future__ import annotations

import pytest
from flask import Flask
from playwright.sync_api import expect
from sqlalchemy import String, cast, select
from werkzeug.test import TestResponse

import database
from accounts import api_keys, invitations, people
from accounts.models import User, UserSession
from billing import address_errands, allowances, closing, credit_codes, doctor_books, errors, freezes, top_ups, trials
from billing.closing import Why
from billing.models import Payment
from billing.purchase_tables import SavedCard
from checker.models import Report
from extensions import db, limiter
from jobs import worker
from ledger import spending
from mail import outbox
from mail.models import Email
from stripe_sandbox.engine.disputes import open_dispute
from tests.auth import mailbox
from tests.auth.test_giving_the_password_again import LONG, with_password
from tests.billing.cards import with_card
from tests.billing.forms import open_form, send, submit
from tests.billing.subscribers import subscriber
from tests.persons import Person, hire, post, sign_up
from tests.reports.buying import check, give_credits
from tests.settings.test_changing_the_address import at_once, change, log_in, same_person
from tests.team import teams
from tests.team.test_acting_for_a_team import balance_by
from tests.web.conftest import OpenPage, open_page, site
from tests.web.test_pages_in_a_browser import assert_accessible
from tests.worlds import Clock, Stripe

__all__ = ["open_page", "site"]

MONEY = {"I1", "I8", "I9", "I10", "I11", "I13", "I17"}
END, ANN = "/settings/delete", "ann@example.com"
# Where an address may stay: what Stripe told of payments, and the log that nobody can change.
KEPT = {"stripe_objects", "stripe_events", "audit_log", "checkout_intents"}


def delete(person: Person) -> TestResponse:
    return submit(person, END, END, agree="y")


def why(person: Person) -> list[Why]:
    with person.app.app_context():
        user = db.session.get_one(User, person.user_id)
        return [obstacle.why for obstacle in closing.obstacles(db.session(), user)]


def tables_with(app: Flask, words: str) -> set[str]:
    """Return the tables of which a row holds these words."""
    found = set()
    with app.app_context():
        for table in db.metadata.sorted_tables:
            for column in table.columns:
                holds = select(column).where(cast(column, String).contains(words)).limit(1)
                if db.session.execute(holds).first() is not None:
                    found.add(table.name)
    return found


def findings(app: Flask) -> list[str]:
    """Return what the doctor finds wrong with money and owners."""
    of_money = [each for each in doctor_books.CHECKS if set(each.invariants) & MONEY or "gone" in each.name]
    with app.app_context():
        return [words for each in of_money for words, _ in each.find(db.session())]


def test_an_account_ends_and_leaves_books_without_a_name(app: Flask, stripe: Stripe, clock: Clock) -> None:
    ann = with_password(with_card(app, stripe, ANN))
    customer = stripe.sandbox_object("customer")["id"]
    give_credits(app, ann, 20)
    report = check(ann).location
    other = same_person(ann)
    before = ann.balance()
    page = teams.page(ann, END)
    assert f"{before} credits are lost" in page
    assert delete(ann).location == "/"
    assert "Your account is deleted" in ann.client.get("/").text
    assert [each.client.get("/settings").status_code for each in (ann, other)] == [303, 303]
    assert log_in(app, ANN) == 401
    with app.app_context():
        assert outbox.send_due() >= 1
        worker.run_once()
    stripe.settle(order="reversed")
    assert stripe.api.v1.customers.retrieve(customer).deleted
    with app.app_context():
        farewell = db.session.scalars(select(Email).where(Email.template == outbox.FAREWELL)).one()
        assert (farewell.status, farewell.to_address) == ("kept", "farewell@deleted.invalid")
        assert db.session.scalars(select(Report)).all() == []
        assert db.session.scalars(select(SavedCard)).all() == []
        account = people.get_account(db.session(), ann.account_id)
        assert (account.name, account.stripe_customer_id) == ("Deleted account", None)
        assert {row.user_agent + row.address for row in db.session.scalars(select(UserSession))} == {""}
    assert tables_with(app, ANN) <= KEPT
    assert app.test_client().get(report).status_code == 303
    assert ann.balance() == before, "the ledger stays as it is; nobody can spend it"
    assert findings(app) == []


def test_the_farewell_says_what_is_kept(app: Flask) -> None:
    ann = sign_up(app)
    delete(ann)
    [letter] = mailbox.letters(app)
    assert (letter["To"], letter["Subject"]) == (ANN, "Your account at Tollgate is deleted")
    assert "payments and invoices is kept without your name" in mailbox.text(letter)


def test_money_that_moves_after_the_end_finds_its_account_and_nobody(app: Flask, stripe: Stripe) -> None:
    ann = with_card(app, stripe, ANN)
    stripe.pay(ann.checkout("credits_30"))
    stripe.settle()
    delete(ann)
    with app.app_context():
        worker.run_once()
    stripe.settle()
    before = ann.balance()
    first, second = [charge.id for charge in stripe.api.v1.charges.list({}).data]
    stripe.api.v1.refunds.create({"charge": first})
    with stripe.sandbox.world() as world:
        open_dispute(world, world.get("charge", second))
    stripe.settle(order="reversed", times=3)
    assert ann.balance() < before
    with app.app_context():
        worker.run_once()
        rows = db.session.scalars(select(Payment).order_by(Payment.id)).all()
        assert sum(row.refunded_cents > 0 for row in rows) == 1
        assert sum(row.dispute_status is not None for row in rows) == 1
        to_nobody = db.session.scalars(select(Email.status).where(Email.to_address.contains("deleted-"))).all()
        assert set(to_nobody) <= {"cancelled", "kept", "sent"}
    assert ANN not in {letter["To"] for letter in mailbox.letters(app)[1:]}
    assert findings(app) == []


def test_a_checkout_that_waited_cannot_be_paid_any_more(app: Flask, stripe: Stripe) -> None:
    ann = with_card(app, stripe, ANN)
    customer = stripe.sandbox_object("customer")["id"]
    ann.checkout("pro_monthly")
    delete(ann)
    with app.app_context():
        worker.run_once()
    stripe.settle()
    waited, _ = stripe.api.v1.checkout.sessions.list({"customer": customer}).data
    assert waited.status == "expired"
    assert stripe.api.v1.subscriptions.list({"customer": customer}).data == []


def test_what_is_paid_in_the_moment_of_the_end_is_charged_once_and_told_to_staff(app: Flask, stripe: Stripe) -> None:
    ann = with_card(app, stripe, ANN)
    url = ann.checkout("pro_monthly")
    delete(ann)
    stripe.sandbox.advance(1)
    stripe.pay(url)
    with app.app_context():
        worker.run_once()
    stripe.settle(order="reversed")
    with app.app_context():
        worker.run_once()
    stripe.settle()
    with stripe.sandbox.world() as world:
        assert {each["status"] for each in world.select("subscription")} == {"canceled"}
    with app.app_context():
        told = [words for words, _ in doctor_books._paid_after_the_end(db.session())]
    assert len(told) == 1
    assert "was paid after its account was deleted" in told[0]


def test_a_stripe_that_is_away_deletes_the_customer_when_it_is_back(app: Flask, stripe: Stripe, clock: Clock) -> None:
    ann = with_card(app, stripe, ANN)
    customer = stripe.sandbox_object("customer")["id"]
    stripe.sandbox.break_api("unreachable")
    assert delete(ann).status_code == 303
    with app.app_context():
        assert address_errands.carry_out_due() == 1
    stripe.sandbox.heal()
    clock.advance(minutes=1)
    with app.app_context():
        assert address_errands.carry_out_due() == 1
    assert stripe.api.v1.customers.retrieve(customer).deleted


# What has to be done before -------------------------------------------------------------------------------------------


def test_a_plan_has_to_end_first(app: Flask, stripe: Stripe) -> None:
    ann = subscriber(stripe)
    page = teams.page(ann, END)
    assert "A plan still runs." in page
    assert 'href="/billing/cancel/now"' in page
    assert f'action="{END}"' not in page
    assert post(ann.client, END, agree="y").status_code == 409
    submit(ann, "/billing/cancel", "/billing/cancel")
    assert why(ann) == [Why.SUBSCRIPTION], "until its last day it was paid for, and can be resumed"
    submit(ann, "/billing/cancel/now", "/billing/cancel/now")
    assert why(ann) == []
    assert delete(ann).location == "/"
    assert findings(app) == []


def test_whoever_has_a_team_hands_it_over_first(app: Flask) -> None:
    ann = teams.owner(app)
    bob = teams.joined(ann)
    assert set(why(ann)) == {Why.MEMBERS, Why.SUBSCRIPTION}
    assert "Others are in the team" in teams.page(ann, END)
    submit(ann, "/team/owner", "/team/owner", email="bob@example.com")
    key = teams.api_key(ann, bob)
    assert why(ann) == []
    assert delete(ann).location == "/"
    assert teams.members(bob) == {"bob@example.com": "owner"}
    assert balance_by(app, key) == 200


def test_a_dispute_a_debt_staff_and_a_purchase_under_way_keep_somebody(app: Flask, stripe: Stripe) -> None:
    ann = hire(with_card(app, stripe, ANN))
    assert why(ann) == [Why.STAFF]
    with app.app_context():
        database.write(freezes.stop, ann.account_id, "dispute:dp_1", reason="A dispute")
        card = db.session.scalars(select(SavedCard)).one()
        pack = top_ups.pack_on_sale("credits_5")
        database.write(top_ups.write_down, ann.account_id, pack, card, kind="click")
    assert why(ann) == [Why.STAFF, Why.UNDER_WAY, Why.FROZEN]
    page = teams.page(ann, END)
    assert "Write to us, and we settle it together first" in page
    assert post(ann.client, END, agree="y").status_code == 409
    assert ann.client.get("/settings").status_code == 200
    bob = with_card(app, stripe, "bob@example.com")
    with app.app_context():
        database.write(spending.spend, bob.account_id, bob.balance(), idempotency_key="all", reason="all")
    stripe.api.v1.refunds.create({"charge": stripe.sandbox_object("charge")["id"]})
    stripe.settle()
    assert why(bob) == [Why.DEBT]
    assert "still owed" in teams.page(bob, END)


def test_the_box_has_to_be_ticked_and_the_password_known(app: Flask, clock: Clock) -> None:
    ann = with_password(sign_up(app))
    assert submit(ann, END, END).status_code == 422
    form = {**open_form(ann, END, END), "agree": "y"}
    clock.advance(seconds=LONG)
    assert ann.client.get(END).location == f"/password/confirm?next={END}"
    assert send(ann, END, form).status_code == 403
    assert log_in(app, ANN) == 303


# Others, and at once --------------------------------------------------------------------------------------------------


def test_a_member_leaves_the_teams_of_others_and_their_keys_end(app: Flask) -> None:
    ann = teams.owner(app)
    bob = teams.joined(ann, role="admin")
    key = teams.api_key(ann, bob)
    teams.invite(bob, "dan@example.com")
    link = mailbox.link(app, "/invitations/")
    assert delete(bob).location == "/"
    assert teams.members(ann) == {ANN: "owner"}
    assert balance_by(app, key) == 401
    assert app.test_client().get(link).status_code == 410
    with app.app_context():
        assert invitations.of_account(db.session(), ann.account_id) == []
        assert {key.revoked_at is None for key, _ in api_keys.listed(db.session(), ann.account_id)} == {False}
    # The log is the team's, and so are the name of its key and the mail that told its owner who joined.
    assert tables_with(app, "bob@example.com") - {"api_keys", "emails"} <= KEPT


def test_of_many_clicks_at_once_one_deletes(app: Flask, stripe: Stripe) -> None:
    ann = with_card(app, stripe, ANN)
    form, statuses = {**open_form(ann, END, END), "agree": "y"}, []
    tabs = [same_person(ann) for _ in range(4)]
    at_once(app, *[lambda tab=tab: statuses.append(send(tab, END, form).status_code) for tab in tabs])  # type: ignore[misc]
    # Whoever comes when it is done is not signed in any more.
    assert set(statuses) <= {303, 400, 401}, statuses
    with app.app_context():
        assert len(db.session.scalars(select(Email).where(Email.template == outbox.FAREWELL)).all()) == 1
    assert findings(app) == []


def test_of_the_end_of_a_team_and_somebody_who_joins_it_one_comes_first(app: Flask) -> None:
    ann = teams.owner(app)
    bob = sign_up(app, "bob@example.com")
    action, joining = teams.accept_form(bob, teams.invited(ann, "bob@example.com"))
    teams.change_plan(ann, None)
    form = {**open_form(ann, END, END), "agree": "y"}
    at_once(app, lambda: send(ann, END, form), lambda: send(bob, action, joining))
    with app.app_context():
        is_closed = people.get_account(db.session(), ann.account_id).closed_at is not None
    assert len(teams.members(ann)) == (1 if is_closed else 2)


def test_a_purchase_that_meets_the_end_is_seen_or_finds_it_closed(app: Flask, stripe: Stripe) -> None:
    ann = with_card(app, stripe, ANN)
    form = {**open_form(ann, END, END), "agree": "y"}
    buying = open_form(ann, "/billing", "/billing/top-up/credits_30")
    tab = same_person(ann)
    at_once(app, lambda: send(ann, END, form), lambda: send(tab, "/billing/top-up/credits_30", buying))
    stripe.settle()
    with app.app_context():
        worker.run_once()
    stripe.settle()
    assert findings(app) == []


# Coming back ----------------------------------------------------------------------------------------------------------


def test_whoever_comes_back_gets_nothing_a_second_time(app: Flask, stripe: Stripe, clock: Clock) -> None:
    ann = sign_up(app)
    assert ann.balance() == 3
    with app.app_context():
        database.write(credit_codes.create, "SPRING-27", credits=7, max_uses=9)
        database.write(credit_codes.redeem, ann.account_id, "SPRING-27")
        for key in trials._keys_of_account(db.session(), ann.account_id):
            database.write(trials._remember, key, ann.account_id, "sub_1")
    delete(ann)
    again = sign_up(app, "Ann+again@example.com")
    assert again.balance() == 0
    with app.app_context():
        assert trials.has_used(db.session(), again.account_id)
        with pytest.raises(errors.CodeRefused, match="used"):
            database.write(credit_codes.redeem, again.account_id, "SPRING-27")
    clock.advance(days=36)
    with app.app_context():
        worker.grant_due_allowances()
    assert again.balance() == 3, "the next month is theirs like anybody's"
    assert (ann.balance_of("plan"), findings(app)) == (0, [])


def test_an_address_that_was_left_brings_no_second_free_month_either(app: Flask) -> None:
    ann = with_password(sign_up(app))
    change(ann, "ann@new.example")
    assert sign_up(app, ANN).balance() == 0
    assert sign_up(app, "bob@example.com").balance() == 3


def test_the_free_month_comes_to_nobody_who_is_gone(app: Flask, clock: Clock) -> None:
    ann = sign_up(app)
    delete(ann)
    clock.advance(days=40)
    with app.app_context():
        assert worker.grant_due_allowances() == 0
        assert database.write(allowances.grant_due, ann.account_id) is False


def test_the_address_can_sign_up_again_through_the_pages(app: Flask) -> None:
    delete(sign_up(app))
    limiter.reset()
    client = app.test_client()
    post(client, "/register", email=ANN, password="quite a new password")
    assert post(client, mailbox.link(app, "/verify/")).location == "/dashboard"
    with app.app_context():
        assert len(db.session.scalars(select(User).order_by(User.id)).all()) == 2


# In a browser ---------------------------------------------------------------------------------------------------------


@pytest.mark.browser
def test_without_script_somebody_deletes_their_account(app: Flask, open_page: OpenPage) -> None:
    ann = sign_up(app)
    seen = open_page(END, person=ann, width=390)
    assert_accessible(seen, END)
    for width in (390, 320):
        seen.set_viewport_size({"width": width, "height": 900})
        assert seen.evaluate("document.documentElement.scrollWidth") <= width
    page = open_page("/settings", person=ann, script=False, width=390)
    page.get_by_role("link", name="Delete your account").click()
    page.get_by_role("button", name="Delete my account").click()
    expect(page.get_by_role("alert")).to_contain_text("Tick the box")
    page.get_by_label("Delete my account for good").check()
    page.get_by_role("button", name="Delete my account").click()
    expect(page.get_by_role("status")).to_contain_text("Your account is deleted")
