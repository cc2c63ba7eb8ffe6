"""Who may use the back office, as the command line says it."""

from __future__ import annotations

from flask import Flask

from tests.admin.office import Office
from tests.persons import sign_up


def run(app: Flask, *arguments: str) -> tuple[int, str]:
    answer = app.test_cli_runner().invoke(args=["staff", *arguments])
    return answer.exit_code, answer.output.strip()


def test_a_person_is_added_and_enters_the_back_office(app: Flask) -> None:
    ann = sign_up(app)
    assert ann.client.get("/admin").status_code == 404
    assert run(app, "list") == (0, "Nobody may use the back office: `flask staff add EMAIL`.")
    assert run(app, "add", " Ann@Example.com") == (0, "Ann@Example.com may use the back office.")
    assert ann.client.get("/admin").status_code == 200
    assert run(app, "add", "ann@example.com") == (0, "ann@example.com may use the back office already.")
    assert run(app, "list") == (0, "ann@example.com")


def test_whoever_is_removed_is_logged_out_everywhere(app: Flask) -> None:
    ann = sign_up(app)
    run(app, "add", "ann@example.com")
    assert run(app, "remove", "ann@example.com") == (0, "ann@example.com may not use the back office any more.")
    assert ann.client.get("/dashboard").location.startswith("/login")
    assert run(app, "remove", "ann@example.com") == (0, "ann@example.com may not use the back office.")


def test_a_stranger_and_an_unconfirmed_address_are_refused(app: Flask) -> None:
    sign_up(app, "bob@example.com", verified=False)
    status, words = run(app, "add", "nobody@example.com")
    assert status == 1
    assert "Nobody has signed up as nobody@example.com" in words
    assert run(app, "remove", "nobody@example.com")[0] == 1
    status, words = run(app, "add", "bob@example.com")
    assert status == 1
    assert "bob@example.com is not confirmed" in words


def test_each_change_is_in_the_audit_log(app: Flask, office: Office) -> None:
    sign_up(app)
    run(app, "add", "ann@example.com")
    run(app, "remove", "ann@example.com")
    page = office.staff.client.get("/admin/audit").get_data(as_text=True)
    assert "<td>command line</td>" in page
    assert '<td class="nowrap">staff add</td>' in page
    assert '<td class="nowrap">staff remove</td>' in page
