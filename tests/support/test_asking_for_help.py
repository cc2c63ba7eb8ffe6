"""A question is kept once with its promise, mailed to both sides, and waits in the back office until it is answered."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from flask import Flask
from werkzeug.test import TestResponse

import clock as app_clock
import database
from accounts.audit import AuditEntry
from extensions import db
from mail import preparing, rendering
from mail.models import Email
from mail.preparing import NotNeeded, Prepared
from support import desk
from support.hours import Desk
from support.models import SupportRequest
from tests.billing.forms import hidden_fields, send
from tests.persons import Person, hire, sign_up
from tests.plans import lapse, open_plan
from tests.team import teams
from tests.web.documents import Document
from tests.worlds import Clock

PAGE, OFFICE = "/support", "/admin/support"
WEDNESDAY = datetime(2026, 11, 18, 10, tzinfo=UTC)


@pytest.fixture
def ann(app: Flask, clock: Clock) -> Person:
    """Somebody on the free plan, on a Wednesday at ten."""
    clock.advance(seconds=(WEDNESDAY - app_clock.now()).total_seconds())
    return sign_up(app)


def ask(person: Person, subject: str = "No credits", message: str = "I paid and\r\nsee none.", times: int = 1):  # type: ignore[no-untyped-def]
    fields = {**hidden_fields(person.client.get(PAGE).text, PAGE), "subject": subject, "message": message}
    return [send(person, PAGE, fields) for _ in range(times)][-1]


def questions(app: Flask) -> list[SupportRequest]:
    with app.app_context():
        return list(db.session.scalars(db.select(SupportRequest).order_by(SupportRequest.id)))


def due(question: SupportRequest) -> str:
    return f"{question.due_at:%d %b %H:%M}"


def mails(app: Flask) -> dict[str, tuple[str, ...]]:
    """Return the subject, the recipient, whom an answer goes to, and the text of each mail, by its template."""
    found = {}
    with app.app_context():
        for row in db.session.scalars(db.select(Email)):
            mail = preparing.prepare(db.session(), Prepared(row.template, row.to_address, json.loads(row.context)))
            message = rendering.render(mail, row.uuid)
            text, page = message.get_body(("plain",)), message.get_body(("html",))
            assert text is not None
            assert page is not None
            assert "<script" not in page.get_content()
            found[row.template] = (*(str(message[name]) for name in ("Subject", "To", "Reply-To")), text.get_content())
    return found


def words(person: Person, path: str = PAGE) -> str:
    answer: TestResponse = person.client.get(path)
    assert answer.status_code == 200, answer.text
    return Document(answer.text).all("main")[0].words


def mark(staff: Person, question: SupportRequest, times: int = 1) -> TestResponse:
    action = f"{OFFICE}/{question.public_id}/answered"
    fields = hidden_fields(staff.client.get(OFFICE).text, action)
    return [send(staff, action, fields) for _ in range(times)][-1]


def test_a_question_is_kept_with_its_promise_and_mailed_to_both_sides(app: Flask, ann: Person) -> None:
    assert "within 2 working days" in words(ann)
    assert "Nothing asked yet" in words(ann)
    assert ask(ann).status_code == 303
    [asked] = questions(app)
    assert (asked.subject, asked.message) == ("No credits", "I paid and\nsee none.")
    assert (asked.is_priority, due(asked)) == (False, "20 Nov 10:00")
    sent = mails(app)
    subject, to, answer_to, text = sent["support_request"]
    assert (subject, to, answer_to) == ("No credits", "support@tollgate.example", ann.email)
    assert "I paid and\nsee none." in text
    subject, to, answer_to, text = sent["support_received"]
    assert (subject, to, answer_to) == ("We have your message: No credits", ann.email, "None")
    assert "You get an answer by 20 November 2026, 10:00 UTC" in text
    page = ann.client.get(PAGE).text
    assert "Your message is with us. You get an answer by 20 November 2026, 10:00 UTC." in page
    assert "Answer by 20 November 2026, 10:00 UTC." in page


def test_with_priority_it_is_hours_and_the_mail_says_so(app: Flask, ann: Person) -> None:
    open_plan(ann, "pro")
    assert "within 4 working hours" in words(ann)
    ask(ann)
    lapse(ann)
    ask(ann, "Afterwards")
    shown = words(ann)
    assert shown.index("Afterwards") < shown.index("No credits"), "the latest first"
    first, second = questions(app)
    assert (first.is_priority, due(first)) == (True, "18 Nov 14:00")
    assert (second.is_priority, due(second)) == (False, "20 Nov 10:00"), "the plan counts at the moment of asking"
    with app.app_context():
        [queued] = db.session.scalars(
            db.select(Email).where(Email.template == "support_request", Email.context.contains(first.public_id))
        )
        mail = preparing.prepare(
            db.session(), Prepared(queued.template, queued.to_address, {"request": first.public_id})
        )
        assert rendering.render(mail, queued.uuid)["Subject"] == "[Priority] No credits"


def test_a_form_sent_twice_or_at_once_asks_once(app: Flask, ann: Person) -> None:
    assert ask(ann, times=2).status_code == 303
    assert len(questions(app)) == 1
    asker, desk_hours = desk.Asker(ann.user_id, ann.account_id, ann.email), Desk(9, 17, priority_hours=4, days=2)
    words = {"subject": "Help", "message": "Help", "operator": "support@example.com", "key": "one form"}

    def send_at_once(_number: int) -> int:
        with app.app_context():
            return database.write(desk.ask, asker, desk=desk_hours, is_priority=False, **words).id

    with ThreadPoolExecutor(6) as forms:
        assert len(set(forms.map(send_at_once, range(6)))) == 1
    assert len(questions(app)) == 2
    with app.app_context():
        assert db.session.query(Email).count() == 4


@pytest.mark.parametrize(
    ("subject", "message", "said"),
    [
        (" ", "Help", "Say in a few words what it is about."),
        ("Help", " \r\n ", "Write what happened, and what you expected."),
        ("s" * 121, "Help", "Use at most 120 characters."),
        ("Help", "m" * 5001, "Use at most 5,000 characters; send the rest after it."),
    ],
)
def test_what_cannot_be_asked_is_said_and_what_was_typed_stays(
    app: Flask, ann: Person, subject: str, message: str, said: str
) -> None:
    refused = ask(ann, subject, message)
    assert refused.status_code == 422
    assert said in refused.text
    assert message.strip() in refused.text
    assert questions(app) == []
    assert mails(app) == {}


def test_a_flood_is_refused_in_words_and_nothing_that_arrived_is_lost(app: Flask, ann: Person, clock: Clock) -> None:
    answers = [ask(ann, f"Question {number}").status_code for number in range(6)]
    assert answers == [303] * 5 + [429]
    refused = ask(ann, "Question 7", "My long text")
    assert "You have sent 5 messages within an hour." in refused.text
    assert "My long text" in refused.text
    assert len(questions(app)) == 5
    assert ask(sign_up(app, "bob@example.com")).status_code == 303, "others are not held up"
    clock.advance(minutes=61)
    assert ask(ann, "Question 8").status_code == 303


def test_people_see_their_own_questions_only(app: Flask, ann: Person) -> None:
    bob = sign_up(app, "bob@example.com")
    ask(ann, "A secret of Ann's")
    assert "A secret of Ann's" in words(ann)
    assert "A secret of Ann's" not in words(bob)
    assert bob.client.get(OFFICE).status_code == 404
    action = f"{OFFICE}/{questions(app)[0].public_id}/answered"
    fields = hidden_fields(bob.client.get(PAGE).text, PAGE)
    assert send(bob, action, fields).status_code == 404
    assert questions(app)[0].answered_at is None


def test_what_somebody_types_cannot_add_a_header_or_markup(app: Flask, ann: Person) -> None:
    ask(ann, "Hi\r\nBcc: everybody@example.com", "<script>alert(1)</script>")
    subject, *_ = mails(app)["support_request"]
    assert subject == "Hi Bcc: everybody@example.com"
    staff = hire(sign_up(app, "staff@example.com"))
    for person, path in ((ann, PAGE), (staff, OFFICE)):
        assert "<script>alert" not in person.client.get(path).text


def test_signs_that_turn_the_reading_direction_are_left_out(app: Flask, ann: Person) -> None:
    ask(ann, "Safe \u202eexe.gpj", "\u2066Look\u2069 here")
    (question,) = questions(app)
    assert (question.subject, question.message) == ("Safe exe.gpj", "Look here")


def test_a_member_asks_with_the_promise_of_the_team_and_still_asks_when_the_team_is_closed(
    app: Flask, ann: Person
) -> None:
    open_plan(ann)
    bob = teams.joined(ann)
    assert ask(bob, "As a member").status_code == 303
    teams.change_plan(ann, "basic")
    assert bob.client.get("/cv").status_code == 303, "the team is closed"
    assert ask(bob, "Why is it closed?").status_code == 303
    first, second = questions(app)
    assert (first.is_priority, first.account_id, first.user_id) == (True, ann.account_id, bob.user_id)
    assert second.is_priority is False
    assert "As a member" in words(bob)
    assert "As a member" not in words(ann), "what somebody asked is theirs"


def test_a_mail_about_a_question_that_is_gone_does_not_leave(context: Flask) -> None:
    with pytest.raises(NotNeeded):
        preparing.prepare(db.session(), Prepared("support_received", "ann@example.com", {"request": "made-up"}))


def test_staff_answers_the_first_due_first_and_the_log_keeps_it(app: Flask, ann: Person, clock: Clock) -> None:
    staff, bob = hire(sign_up(app, "staff@example.com")), sign_up(app, "bob@example.com")
    open_plan(bob, "pro")
    assert "Nobody waits for an answer" in words(staff, OFFICE)
    ask(ann, "Asked first")
    ask(bob, "Due first")
    shown = words(staff, OFFICE)
    in_order = ["Due first", f"From bob, {bob.email}", "Asked first", f"From ann, {ann.email}"]
    assert [shown.index(part) for part in in_order] == sorted(shown.index(part) for part in in_order)
    assert "Overdue" not in shown
    assert "Questions to answer 2 0 overdue" in words(staff, "/admin")
    clock.advance(hours=5)
    assert words(staff, OFFICE).count("Overdue") == 1
    assert "Questions to answer 2 1 overdue" in words(staff, "/admin")
    assert "We promised an answer by 18 November 2026, 14:00 UTC and are late." in words(bob)
    first, due_first = questions(app)
    assert mark(staff, due_first, times=2).status_code == 303
    assert mark(staff, first).status_code == 303
    shown = words(staff, OFFICE)
    assert "Nobody waits for an answer" in shown
    assert shown.index("Asked first") < shown.index("Due first"), "the latest answer first"
    assert "Questions to answer 0 0 overdue" in words(staff, "/admin")
    assert "Answered on 18 November 2026, by mail." in words(ann)
    with app.app_context():
        log = list(db.session.scalars(db.select(AuditEntry).order_by(AuditEntry.id)))
        assert [(row.action, row.object_id, row.actor) for row in log] == [
            ("support.answered", due_first.public_id, staff.email),
            ("support.answered", first.public_id, staff.email),
        ]
        assert ['"was_late": true' in row.after for row in log] == [True, False]
    assert "support answered" in words(staff, "/admin/audit")
