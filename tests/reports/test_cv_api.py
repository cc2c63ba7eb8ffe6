"""The same by API: the same gates and the same debit, with JSON in and out."""

from __future__ import annotations

import pytest
from flask import Flask

from tests.checker.samples import words
from tests.persons import Person, csrf_token, sign_up
from tests.reports.buying import ONE_PAGE, TWO_PAGES, call_api, give_credits


@pytest.fixture
def ann(app: Flask) -> Person:
    person = sign_up(app)
    give_credits(app, person, 10)
    return person


def test_a_program_asks_the_price_checks_and_reads_the_report(ann: Person) -> None:
    priced = call_api(ann, {"text": TWO_PAGES}, path="/api/v1/cv/price", key=None)
    assert priced.get_json() == {"pages": 2, "words": 620, "credits": 2}
    made = call_api(ann, {"text": TWO_PAGES, "advert": "We need Python", "max_credits": 2})
    assert made.status_code == 201
    assert made.get_json()["report"]["keywords"] == [{"term": "Python", "wanted": "wanted", "count": 0}]
    assert ann.client.get(made.headers["Location"]).get_json() == made.get_json()
    assert ann.balance() == 8


def test_the_same_key_again_returns_the_same_report_for_nothing(ann: Person) -> None:
    first, second = (call_api(ann, {"text": ONE_PAGE}, key="the-same-key") for _ in range(2))
    assert (second.status_code, second.get_json()) == (201, first.get_json())
    assert ann.balance() == 9


def test_the_same_key_with_another_text_is_409(ann: Person) -> None:
    call_api(ann, {"text": ONE_PAGE}, key="the-same-key")
    refused = call_api(ann, {"text": TWO_PAGES}, key="the-same-key")
    assert refused.status_code == 409
    assert refused.get_json()["type"].endswith("/problems/key-used-before")
    assert ann.balance() == 9


def test_without_a_key_nothing_is_charged(ann: Person) -> None:
    refused = call_api(ann, {"text": ONE_PAGE}, key=None)
    assert refused.status_code == 400
    assert "Idempotency-Key" in refused.get_json()["detail"]
    assert ann.balance() == 10


def test_too_few_credits_are_402_with_the_facts(ann: Person) -> None:
    assert call_api(ann, {"text": words(4600)}, key="first-try").status_code == 201
    refused = call_api(ann, {"text": words(4600)}, key="second-try")
    assert refused.status_code == 402
    problem = refused.get_json()
    assert problem["needed"] == 10
    assert problem["balance"] == 0
    assert problem["solve_at"] == "http://127.0.0.1:5000/pricing"


def test_more_than_max_credits_is_never_taken(ann: Person) -> None:
    refused = call_api(ann, {"text": TWO_PAGES, "max_credits": 1})
    assert refused.status_code == 409
    assert (refused.get_json()["credits"], refused.get_json()["shown"]) == (2, 1)
    assert ann.balance() == 10


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ({}, 400, "text-missing"),
        ({"text": "short"}, 422, "text-too-short"),
        ({"text": words(5001)}, 413, "text-too-long"),
        ({"text": "%PDF-1.4"}, 422, "not-text"),
        ({"text": 5}, 400, None),
        ({"text": ONE_PAGE, "max_credits": "2"}, 400, None),
        ({"text": ONE_PAGE, "max_credits": True}, 400, None),
        ({"text": ONE_PAGE, "price": 0}, 400, None),
        ([ONE_PAGE], 400, None),
        ("just text", 400, None),
    ],
)
def test_a_wrong_request_is_a_problem_and_costs_nothing(
    ann: Person, body: object, status: int, kind: str | None
) -> None:
    refused = call_api(ann, body)
    assert (refused.status_code, refused.mimetype) == (status, "application/problem+json")
    expected = f"http://127.0.0.1:5000/problems/{kind}" if kind else "about:blank"
    assert refused.get_json()["type"] == expected
    assert ann.balance() == 10


def test_what_is_no_json_is_415_or_400(ann: Person) -> None:
    headers = {"X-CSRFToken": csrf_token(ann.client), "Idempotency-Key": "a-key-of-the-test"}
    assert ann.client.post("/api/v1/cv", data="text=x", headers=headers).status_code == 415
    for body in ("{", "[" * 100_000):
        broken = ann.client.post("/api/v1/cv", data=body, content_type="application/json", headers=headers)
        assert broken.status_code == 400, body[:10]


def test_the_longest_key_is_taken_and_a_longer_one_is_refused_in_words(ann: Person) -> None:
    assert call_api(ann, {"text": ONE_PAGE}, key="k" * 128).status_code == 201
    assert call_api(ann, {"text": ONE_PAGE}, key="k" * 129).status_code == 400


def test_another_accounts_report_is_404(app: Flask, ann: Person) -> None:
    address = call_api(ann, {"text": ONE_PAGE}).headers["Location"]
    bob = sign_up(app, "bob@example.com")
    assert bob.client.get(address).status_code == 404
    assert app.test_client().get(address).status_code == 401
