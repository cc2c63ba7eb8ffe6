"""Checking a CV in the browser: the price first, one debit, nothing for failed work, nobody else's reports."""

from __future__ import annotations

import pytest
from flask import Flask

from checker.models import Report
from extensions import db
from ledger import invariants
from tests.checker.samples import advert, cv, words
from tests.persons import Person, csrf_token, sign_up
from tests.reports.buying import ONE_PAGE, TWO_PAGES, ask_price, check, give_credits, hidden_fields, open_form
from tests.worlds import Clock, Stripe


def reports_of(app: Flask, person: Person) -> int:
    with app.app_context():
        return db.session.query(Report).filter_by(account_id=person.account_id).count()


def test_the_price_is_said_before_and_nothing_is_charged_for_asking(app: Flask) -> None:
    ann = sign_up(app)
    before = ann.balance()
    page = ask_price(ann, TWO_PAGES).get_data(as_text=True)
    assert "This CV is <strong>2 pages</strong>: <strong>2 credits</strong>." in page
    assert "Check this CV - 2 credits" in page
    assert (ann.balance(), reports_of(app, ann)) == (before, 0)


def test_a_check_costs_a_credit_a_page_and_leads_to_its_report(app: Flask) -> None:
    ann = sign_up(app)
    give_credits(app, ann, 10)
    answer = check(ann, TWO_PAGES)
    assert answer.status_code == 303
    assert ann.balance() == 8
    assert ann.client.get(answer.location).status_code == 200


def test_the_report_shows_score_parts_next_steps_and_keywords(app: Flask) -> None:
    ann = sign_up(app)
    page = ann.client.get(check(ann, cv("developer"), advert("developer")).location).get_data(as_text=True)
    for said in (
        "CV report: Maya Okafor",
        "What to do next",
        "Results",
        "Readability",
        "Kubernetes",
        "Worked on the fraud",
    ):
        assert said in page


def test_a_form_sent_twice_is_charged_once_and_leads_to_the_same_report(app: Flask) -> None:
    ann = sign_up(app)
    give_credits(app, ann, 10)
    fields = {**hidden_fields(ask_price(ann, TWO_PAGES)), "text": TWO_PAGES}
    first, second = ann.client.post("/cv", data=fields), ann.client.post("/cv", data=fields)
    assert first.location == second.location
    assert (ann.balance(), reports_of(app, ann)) == (8, 1)


def test_a_form_sent_twice_with_the_last_credit_still_leads_to_its_report(app: Flask) -> None:
    # The gate must not ask for credits that the first sending has paid already.
    ann = sign_up(app)
    give_credits(app, ann, 3)
    text = words(1400)
    fields = {**hidden_fields(ask_price(ann, text)), "text": text}
    first, second = ann.client.post("/cv", data=fields), ann.client.post("/cv", data=fields)
    assert (first.status_code, second.status_code) == (303, 303)
    assert first.location == second.location
    assert ann.balance() == 0


def test_the_same_nonce_with_another_cv_is_refused(app: Flask) -> None:
    ann = sign_up(app)
    give_credits(app, ann, 10)
    fields = {**hidden_fields(ask_price(ann, ONE_PAGE)), "text": ONE_PAGE}
    assert ann.client.post("/cv", data=fields).status_code == 303
    again = ann.client.post("/cv", data={**fields, "text": ONE_PAGE.replace("shop", "club")})
    assert again.status_code == 409
    assert (ann.balance(), reports_of(app, ann)) == (9, 1)


@pytest.mark.parametrize("nonce", ["", "made-up"])
def test_without_its_nonce_a_form_is_refused_in_words(app: Flask, nonce: str) -> None:
    ann = sign_up(app)
    before = ann.balance()
    answer = check(ann, _idem=nonce)
    assert answer.status_code == 400
    assert "Open" in answer.get_data(as_text=True)
    assert ann.balance() == before


def test_a_nonce_of_another_account_charges_nobody(app: Flask) -> None:
    ann, bob = sign_up(app, "ann@example.com"), sign_up(app, "bob@example.com")
    before = ann.balance(), bob.balance()
    answer = check(bob, _idem=open_form(ann)["_idem"])
    assert answer.status_code == 400
    assert (ann.balance(), bob.balance()) == before


def test_a_form_of_three_days_ago_is_refused(app: Flask, clock: Clock) -> None:
    ann = sign_up(app)
    priced = hidden_fields(ask_price(ann, ONE_PAGE))
    clock.advance(days=3)
    answer = ann.client.post("/cv", data={**priced, "text": ONE_PAGE})
    assert answer.status_code in {400, 401}, "an old nonce, or by now an ended session"
    assert reports_of(app, ann) == 0


def test_nobody_pays_a_price_they_have_not_seen(app: Flask) -> None:
    ann = sign_up(app)
    give_credits(app, ann, 10)
    for shown in ("1", "", "3", "junk", "-2", "2.0", "9" * 5000):
        answer = check(ann, TWO_PAGES, shown_credits=shown)
        assert answer.status_code == 409, shown
        page = answer.get_data(as_text=True)
        assert "Check this CV - 2 credits" in page
        assert TWO_PAGES[:50] in page
    assert ann.balance() == 10
    assert reports_of(app, ann) == 0


def test_a_changed_price_is_shown_with_the_old_one(app: Flask) -> None:
    page = check(sign_up(app), TWO_PAGES, shown_credits="1").get_data(as_text=True)
    assert "You were shown 1 credit; the text is 2 credits. Nothing was charged." in page


@pytest.mark.parametrize(
    ("text", "status", "words_to_say"),
    [
        ("", 400, "Paste the text of your CV."),
        ("too short to judge", 422, "These are 4 words"),
        (words(5001), 413, "5,001 words"),
        ("%PDF-1.7 " + words(100), 422, "a PDF file"),
        ("1 2 3 4 5 6 7 8 9 0 " * 30, 422, "most of it is digits"),
    ],
)
def test_a_text_that_cannot_be_checked_costs_nothing_and_says_why(
    app: Flask, text: str, status: int, words_to_say: str
) -> None:
    ann = sign_up(app)
    before = ann.balance()
    fields = {**open_form(ann), "text": text, "shown_credits": "1"}
    for path in ("/cv/preview", "/cv"):
        answer = ann.client.post(path, data=fields)
        page = answer.get_data(as_text=True)
        assert answer.status_code == status
        assert words_to_say in page
        assert "<title>Error: Check a CV" in page
        assert 'aria-invalid="true"' in page
    assert (ann.balance(), reports_of(app, ann)) == (before, 0)


def test_an_advert_that_is_too_long_is_said_at_its_field(app: Flask) -> None:
    ann = sign_up(app)
    answer = ann.client.post("/cv", data={**open_form(ann), "text": ONE_PAGE, "advert": "word " * 5000})
    assert answer.status_code == 413
    assert 'id="advert-error"' in answer.get_data(as_text=True)


def test_without_credits_the_text_stays_and_the_missing_credits_are_named(app: Flask) -> None:
    ann = sign_up(app)
    give_credits(app, ann, 3)
    text = words(2100)
    answer = check(ann, text, shown_credits="5")
    page = answer.get_data(as_text=True)
    assert answer.status_code == 402
    assert "You need 2 credits more" in page
    assert text[:60] in page
    assert (ann.balance(), reports_of(app, ann)) == (3, 0)


def test_a_report_is_seen_by_its_account_only(app: Flask) -> None:
    ann, bob = sign_up(app, "ann@example.com"), sign_up(app, "bob@example.com")
    address = check(ann).location
    assert ann.client.get(address).status_code == 200
    assert bob.client.get(address).status_code == 404
    assert app.test_client().get(address).status_code == 303


def test_addresses_that_were_never_given_out_are_404(app: Flask) -> None:
    ann = sign_up(app)
    for public_id in ("1", "0" * 32, "..", "%00", "x" * 3000):
        assert ann.client.get(f"/cv/{public_id}").status_code == 404
        assert ann.client.get(f"/api/v1/cv/{public_id}").status_code == 404


def test_without_the_feature_the_list_is_closed_and_the_report_stays_open(app: Flask) -> None:
    ann = sign_up(app)
    address = check(ann).location
    assert ann.client.get(address).status_code == 200
    refused = ann.client.get("/cv/history")
    assert refused.status_code == 303
    assert refused.location == "/pricing?next=/cv/history"
    assert "History comes with Basic, Pro and Team." in ann.client.get(refused.location).get_data(as_text=True)


def test_with_the_plan_the_list_shows_every_report_page_by_page(app: Flask, stripe: Stripe) -> None:
    ann = sign_up(app)
    stripe.pay(ann.checkout("basic_monthly"))
    stripe.settle()
    addresses = [check(ann, ONE_PAGE.replace("shop", f"shop number {n}")).location for n in range(21)]
    newest = ann.client.get("/cv/history").get_data(as_text=True)
    assert [a in newest for a in addresses] == [False] + [True] * 20
    older = newest.partition('rel="next" href="')[2].partition('"')[0]
    oldest = ann.client.get(older).get_data(as_text=True)
    assert [a in oldest for a in addresses] == [True] + [False] * 20
    assert 'href="/cv/history"' in ann.client.get("/cv").get_data(as_text=True)
    assert len(ann.client.get("/api/v1/cv?limit=5").get_json()["reports"]) == 5


def test_what_was_pasted_is_not_kept(app: Flask) -> None:
    ann = sign_up(app)
    secret = "Zanzibar Quetzalcoatl"
    check(ann, ONE_PAGE + f" {secret}", "Advert for a beekeeper in Timbuktu")
    with app.app_context():
        kept = db.session.query(Report).one()
        assert secret not in str(kept.content)
        assert "Timbuktu" not in str(kept.content)


def test_the_ledger_agrees_after_all_of_it(app: Flask) -> None:
    ann = sign_up(app)
    give_credits(app, ann, 5)
    ask_price(ann, "short")
    for text in (ONE_PAGE, TWO_PAGES, ONE_PAGE):
        check(ann, text)
    with app.app_context():
        assert invariants.violations(db.session()) == []
        paid = sum(row.credits for row in db.session.query(Report))
    assert (paid, ann.balance()) == (4, 1)


def test_a_get_changes_nothing(app: Flask) -> None:
    # Defect class 8 of other starters: a link that spends, upgrades or logs out.
    ann = sign_up(app)
    before = ann.balance()
    for path in ("/cv", "/cv/preview", "/cv/history", "/api/v1/cv"):
        ann.client.get(path, query_string={"text": ONE_PAGE, "shown_credits": "1"})
        ann.client.head(path)
    assert (ann.balance(), reports_of(app, ann)) == (before, 0)


def test_a_form_of_another_site_charges_nothing(app: Flask) -> None:
    ann = sign_up(app)
    priced = hidden_fields(ask_price(ann, ONE_PAGE))
    fields = {**priced, "text": ONE_PAGE}
    assert ann.client.post("/cv", data={k: v for k, v in fields.items() if k != "csrf_token"}).status_code == 400
    answer = ann.client.post("/cv", data=fields, headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403
    assert csrf_token(ann.client)
    assert reports_of(app, ann) == 0
