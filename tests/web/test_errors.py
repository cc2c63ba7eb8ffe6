"""What people and programs are told when something is refused or fails."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from flask import Flask, abort
from flask.testing import FlaskClient
from sqlalchemy.exc import OperationalError

from app import create_app
from billing import errors as billing_errors
from config import Config
from extensions import db
from ledger import errors as ledger_errors
from tests.persons import csrf_token, sign_up
from web import errors, gates, refusals
from web.answers import HTTP_ANSWERS

PROBLEM = "application/problem+json"
AS_PROGRAM = {"Accept": "application/json"}


def children(kind: type[Exception]) -> Iterator[type[Exception]]:
    for child in kind.__subclasses__():
        yield child
        yield from children(child)


@pytest.fixture
def broken(app: Flask) -> Iterator[Flask]:
    """An app of its own with views that fail in every way; errors are answered as in production."""
    config: Config = app.config["TOLLGATE"]
    made = create_app(config)

    @made.get("/fails/<int:status>")
    @gates.public
    def fails(status: int) -> str:
        abort(status)

    @made.get("/api/fails/<int:status>")
    @gates.public
    def api_fails(status: int) -> str:
        abort(status)

    @made.get("/stops/<int:status>")
    @gates.public
    def stops(status: int) -> str:
        abort(status, "the words of the view")

    @made.get("/explodes")
    @gates.public
    def explodes() -> str:
        raise RuntimeError("the secret is sk_live_4eC39HqLyjWDarjtT1zdp7dc")

    @made.get("/database-away")
    @gates.public
    def database_away() -> str:
        raise OperationalError("SELECT * FROM secrets", {}, Exception("connection refused at db.internal"))

    yield made
    with made.app_context():
        db.engine.dispose()


def test_every_error_of_the_domain_has_an_answer_of_its_own_or_of_its_kind(context: Flask) -> None:
    for base in (billing_errors.BillingError, ledger_errors.LedgerError, refusals.Refusal):
        for kind in children(base):
            row = next((errors.table()[k] for k in kind.__mro__ if k in errors.table()), None)
            assert row is not None, f"{kind.__name__} has no row in web/answers.py"


def test_every_answer_has_a_kind_of_its_own_and_says_what_it_means(context: Flask) -> None:
    rows = list(errors.table().values())
    assert len({row.kind for row in rows}) == len(rows)
    for row in rows:
        assert 400 <= row.status <= 599
        assert row.about.endswith(".")
        assert not row.title.endswith("!")


@pytest.mark.parametrize("status", sorted(HTTP_ANSWERS))
def test_a_person_gets_a_page_with_the_request_to_name(broken: Flask, status: int) -> None:
    answer = broken.test_client().get(f"/fails/{status}")
    page = answer.get_data(as_text=True)
    assert answer.status_code == status
    assert f"<h1>{HTTP_ANSWERS[status][0]}</h1>" in page
    assert answer.headers["X-Request-Id"] in page


@pytest.mark.parametrize("status", sorted(HTTP_ANSWERS))
def test_a_program_gets_problem_details(broken: Flask, status: int) -> None:
    answer = broken.test_client().get(f"/api/fails/{status}")
    assert (answer.status_code, answer.mimetype) == (status, PROBLEM)
    problem = answer.get_json()
    assert problem["status"] == status
    assert problem["type"] == "about:blank"
    assert problem["title"] == HTTP_ANSWERS[status][0]
    assert problem["detail"]
    assert problem["request_id"] == answer.headers["X-Request-Id"]


@pytest.mark.parametrize("path", ["/explodes", "/database-away"])
@pytest.mark.parametrize("headers", [{}, AS_PROGRAM])
def test_a_failure_leaks_nothing(broken: Flask, path: str, headers: dict[str, str]) -> None:
    answer = broken.test_client().get(path, headers=headers)
    said = answer.get_data(as_text=True)
    assert answer.status_code == (503 if path == "/database-away" else 500)
    for leak in ("sk_live", "RuntimeError", "Traceback", "SELECT", "db.internal"):
        assert leak not in said


@pytest.mark.parametrize(("status", "is_shown"), [(400, True), (403, True), (409, True), (500, False), (503, False)])
def test_a_views_own_words_are_shown_unless_the_fault_is_ours(broken: Flask, status: int, is_shown: bool) -> None:
    for headers in ({}, AS_PROGRAM):
        answer = broken.test_client().get(f"/stops/{status}", headers=headers)
        assert ("the words of the view" in answer.get_data(as_text=True)) is is_shown


def test_a_database_that_is_away_is_503_also_for_somebody_signed_in(app: Flask, broken: Flask) -> None:
    person = sign_up(app)
    cookie = person.client.get_cookie("session")
    assert cookie is not None
    client = broken.test_client()
    client.set_cookie("session", cookie.value)
    with broken.app_context():
        db.engine.dispose()
        sa.event.listen(db.engine, "do_connect", _refuse)
    answer = client.get("/cv")
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    page = answer.get_data(as_text=True)
    assert "<h1>We are away for a moment</h1>" in page
    assert 'rel="stylesheet"' in page, "the page needs no database, so it is the site's own"


def _refuse(*_: object) -> None:
    raise sa.exc.OperationalError("connect", {}, Exception("connection refused"))


def test_an_unknown_error_is_never_a_400(broken: Flask) -> None:
    # Defect class 9 of other starters: 400 for what went wrong inside, so that nobody looks and nobody retries.
    assert broken.test_client().get("/explodes").status_code == 500


def test_what_is_too_large_is_413_for_people_and_programs(client: FlaskClient) -> None:
    huge = b"x" * (1024 * 1024 + 1)
    for path in ("/cv", "/api/v1/cv"):
        answer = client.post(path, data=huge, content_type="application/x-www-form-urlencoded")
        assert answer.status_code == 413


def test_405_names_the_methods_that_work(client: FlaskClient) -> None:
    answer = client.delete("/terms")
    assert answer.status_code == 405
    assert "GET" in answer.headers["Allow"]


def test_a_form_from_before_a_log_out_is_400_in_words_that_its_sender_knows(client: FlaskClient) -> None:
    answer = client.post("/theme", data={"theme": "dark"})
    assert answer.status_code == 400
    page = answer.get_data(as_text=True)
    assert "This form is out of date" in page
    assert 'href="/login' in page
    assert "CSRF" not in page


def test_a_program_without_a_csrf_token_is_told_so(client: FlaskClient) -> None:
    answer = client.post("/theme", data={"theme": "dark"}, headers={"Accept": "application/json"})
    assert answer.status_code == 400
    assert "CSRF" in answer.get_json()["detail"]


def test_too_many_requests_say_when_to_come_back(app: Flask, client: FlaskClient) -> None:
    token = csrf_token(client)
    answers = [client.post("/login", data={"csrf_token": token, "email": "a@example.com"}) for _ in range(40)]
    limited = [a for a in answers if a.status_code == 429]
    assert limited, "40 guesses in a row must be slowed down"
    assert int(limited[0].headers["Retry-After"]) > 0
    assert "per 1 minute" not in limited[0].get_data(as_text=True)


def test_a_foreign_host_gets_a_page_that_needs_no_address(client: FlaskClient) -> None:
    answer = client.get("/", base_url="http://evil.example")
    assert answer.status_code == 400
    assert "evil.example" not in answer.get_data(as_text=True)


def test_a_visitor_is_sent_to_log_in_and_back(client: FlaskClient) -> None:
    answer = client.get("/cv/history?before=7")
    assert answer.status_code == 303
    assert answer.location == "/login?next=/cv/history?before%3D7"


def test_a_form_of_somebody_logged_out_is_a_page_that_keeps_what_was_typed(client: FlaskClient) -> None:
    # A redirect would lose the text: Back leads to the form only when the answer is a page.
    answer = client.post("/cv", data={"csrf_token": csrf_token(client)}, headers={"Referer": "http://localhost/cv"})
    assert answer.status_code == 401
    assert 'href="/login?next=/cv"' in answer.get_data(as_text=True)


def test_another_sites_page_is_never_the_way_back(client: FlaskClient) -> None:
    headers = {"Referer": "http://evil.example/cv"}
    answer = client.post("/cv", data={"csrf_token": csrf_token(client)}, headers=headers)
    page = answer.get_data(as_text=True)
    assert answer.status_code == 401
    assert "next=" not in page


def test_a_program_learns_where_to_solve_it_and_is_not_redirected(app: Flask) -> None:
    answer = sign_up(app).client.get("/api/v1/cv")
    assert answer.status_code == 402
    problem = answer.get_json()
    assert problem["type"] == "http://127.0.0.1:5000/problems/plan-required"
    assert problem["feature"] == "history"
    assert problem["plans"] == ["basic", "pro", "team"]
    assert problem["detail"] == "History comes with Basic, Pro and Team."


def test_every_type_of_problem_leads_to_its_page(app: Flask, client: FlaskClient) -> None:
    with app.app_context():
        kinds = [row.kind for row in errors.table().values()]
    overview = client.get("/problems").get_data(as_text=True)
    for kind in kinds:
        assert f"/problems/{kind}" in overview
        assert client.get(f"/problems/{kind}").status_code == 200
    assert client.get("/problems/no-such-kind").status_code == 404


@pytest.mark.parametrize("path", ["/terms?before=%00", "/login?next=/%00", "/?a%00=1"])
def test_a_nul_character_in_an_address_is_400(client: FlaskClient, path: str) -> None:
    assert client.get(path).status_code == 400


def test_a_nul_character_in_a_form_is_400(client: FlaskClient) -> None:
    form = {"csrf_token": csrf_token(client), "email": "ann@example.com\0", "password": "a good pass phrase"}
    assert client.post("/login", data=form).status_code == 400
