"""Mail is promised with what causes it, and leaves at least once, whatever breaks in between."""

from __future__ import annotations

import dataclasses
import json
import socket
import threading
from collections.abc import Iterator
from datetime import timedelta
from email import message_from_bytes
from email.message import Message
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from flask import Flask
from sqlalchemy import select
from sqlalchemy.orm import Session

import clock as app_clock
import database
from extensions import db
from mail import outbox, preparing, smtp
from mail.models import Email
from mail.preparing import NotNeeded, Prepared
from tests.worlds import Clock


class Server:
    """A mail server that takes mail, or refuses some of it as real ones do."""

    def __init__(self) -> None:
        self.received: list[Message] = []
        self.answers: dict[str, str] = {}

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        answer = self.answers.get(envelope.rcpt_tos[0], "250 OK")
        if answer.startswith("250"):
            self.received.append(message_from_bytes(envelope.content))
        return answer


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def server() -> Iterator[Server]:
    """A mail server on this machine."""
    handler = Server()
    controller = Controller(handler, hostname="127.0.0.1", port=free_port())
    controller.start()
    handler.url = f"smtp://127.0.0.1:{controller.port}"  # type: ignore[attr-defined]
    yield handler
    controller.stop()


@pytest.fixture
def sending(context: Flask, server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The app set up to send its mail to that server."""
    use(context, monkeypatch, server.url)  # type: ignore[attr-defined]
    return server


def use(app: Flask, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setitem(app.config, "TOLLGATE", dataclasses.replace(app.config["TOLLGATE"], mail_url=url))


def queue(to: str = "ann@example.com", key: str = "", **more: Any) -> bool:
    facts = {"at": app_clock.now().isoformat()}
    return database.write(outbox.queue, "password_changed", to=to, context=facts, dedupe_key=key or f"key:{to}", **more)


def rows() -> list[Email]:
    db.session.rollback()
    return list(db.session.scalars(select(Email).order_by(Email.id)))


def test_a_mail_arrives_as_text_and_as_a_page(sending: Server) -> None:
    queue()
    assert outbox.send_due() == 1
    [letter] = sending.received
    assert letter["To"] == "ann@example.com"
    assert letter["From"] == "Tollgate <hello@tollgate.example>"
    assert letter["Subject"] == "Your password for Tollgate was changed"
    assert letter["Message-ID"] == f"<{rows()[0].uuid}@tollgate.example>"
    assert letter["Auto-Submitted"] == "auto-generated"
    assert [part.get_content_type() for part in letter.walk()] == ["multipart/alternative", "text/plain", "text/html"]
    assert rows()[0].status == "sent"
    assert outbox.send_due() == 0


def test_a_mail_is_not_promised_when_its_cause_is_undone(context: Flask) -> None:
    def fail(session: Session) -> None:
        outbox.queue(session, "password_changed", to="ann@example.com", context={}, dedupe_key="k")
        raise RuntimeError("undone")

    with pytest.raises(RuntimeError):
        database.write(fail)
    assert rows() == []


def test_the_same_news_is_promised_once(context: Flask) -> None:
    assert queue(key="receipt:ch_1")
    assert not queue(key="receipt:ch_1", to="bob@example.com")
    assert len(rows()) == 1


def test_nothing_is_lost_while_the_server_is_away(
    context: Flask, server: Server, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    use(context, monkeypatch, f"smtp://127.0.0.1:{free_port()}")
    for number in range(3):
        queue(to=f"person{number}@example.com")
    assert outbox.send_due() == 0
    assert [row.attempts for row in rows()] == [1, 0, 0], "one try is enough to learn that it is away"
    assert "ConnectionRefusedError" in (rows()[0].last_error or "")

    use(context, monkeypatch, server.url)  # type: ignore[attr-defined]
    assert outbox.send_due() == 2, "the first waits for its next try"
    clock.advance(minutes=1)
    assert outbox.send_due() == 1
    assert {letter["To"] for letter in server.received} == {f"person{n}@example.com" for n in range(3)}


def test_a_refused_mail_is_buried_and_holds_up_nobody(sending: Server) -> None:
    sending.answers["poison@example.com"] = "550 no such mailbox"
    queue(to="poison@example.com")
    queue(to="ann@example.com")
    outbox.send_due()
    assert [(row.status, row.last_error) for row in rows()] == [("dead", "550 no such mailbox"), ("sent", None)]


def test_a_mail_put_off_by_the_server_is_tried_again_and_again_then_buried(sending: Server, clock: Clock) -> None:
    sending.answers["busy@example.com"] = "451 try later"
    queue(to="busy@example.com")
    waits = []
    for _ in range(outbox.MAX_ATTEMPTS):
        assert rows()[0].status == "pending"
        before = app_clock.now()
        outbox.send_due()
        waits.append((rows()[0].next_at - before).total_seconds())
        clock.advance(hours=6, minutes=1)
    assert [round(wait) for wait in waits[:4]] == [30, 60, 120, 240]
    assert max(waits) <= 6 * 3600 + 1
    assert rows()[0].status == "dead"
    assert "451" in (rows()[0].last_error or "")


def test_a_crash_after_the_servers_yes_sends_the_same_mail_again(
    sending: Server, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue()
    claim = database.write(outbox._claim)
    assert claim is not None
    with smtp.Mailer() as mailer:
        mailer.send(outbox.rendering.render(preparing.prepare(db.session(), claim.mail), claim.uuid))
    # Here the process dies: nothing is noted.
    assert outbox.send_due() == 0, "while the lease lasts, nobody else takes it"
    clock.advance(seconds=61)
    assert outbox.send_due() == 1
    first, second = sending.received
    assert first["Message-ID"] == second["Message-ID"]


def test_a_slow_sender_does_not_overwrite_what_the_next_one_noted(sending: Server, clock: Clock) -> None:
    queue()
    slow = database.write(outbox._claim)
    assert slow is not None
    clock.advance(seconds=61)
    assert outbox.send_due() == 1
    database.write(outbox._postpone, slow, "time-out of the slow one")
    assert rows()[0].status == "sent"


def test_two_senders_at_once_send_each_mail_once(context: Flask, sending: Server) -> None:
    for number in range(30):
        queue(to=f"person{number}@example.com")

    def work() -> None:
        with context.app_context():
            outbox.send_due(limit=30)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(sending.received) == 30
    assert len({letter["Message-ID"] for letter in sending.received}) == 30


def test_whoever_waits_for_a_mail_gets_it_first(sending: Server) -> None:
    queue(to="later@example.com", priority=5)
    queue(to="waiting@example.com", priority=0)
    outbox.send_due()
    assert [letter["To"] for letter in sending.received] == ["waiting@example.com", "later@example.com"]


def test_news_that_came_too_late_is_not_sent(sending: Server, clock: Clock) -> None:
    queue(not_after=app_clock.now() + timedelta(hours=1))
    clock.advance(hours=2)
    assert outbox.send_due() == 0
    assert (rows()[0].status, sending.received) == ("cancelled", [])


@pytest.fixture
def stale_news() -> Iterator[None]:
    """A kind of mail that turns out to be pointless when it is about to leave."""

    @preparing.prepares("stale")
    def prepare(_session: Session, mail: Prepared) -> Prepared:
        if mail.context["paid"]:
            raise NotNeeded("it was paid meanwhile")
        return Prepared("password_changed", mail.to, {"at": app_clock.now(), "reset_url": "/"})

    yield
    preparing._preparers.pop("stale")


@pytest.mark.usefixtures("stale_news")
def test_a_mail_that_became_pointless_is_cancelled(sending: Server) -> None:
    for paid in (True, False):
        database.write(
            outbox.queue, "stale", to="ann@example.com", context={"paid": paid}, dedupe_key=f"payfail:in_{paid}"
        )
    outbox.send_due()
    assert [(row.status, row.last_error) for row in rows()] == [("cancelled", "it was paid meanwhile"), ("sent", None)]
    assert len(sending.received) == 1


def test_a_template_that_fails_holds_up_nobody(sending: Server) -> None:
    database.write(outbox.queue, "no_such_template", to="ann@example.com", context={}, dedupe_key="broken", priority=0)
    queue(to="bob@example.com")
    outbox.send_due()
    assert [row.status for row in rows()] == ["pending", "sent"]
    assert "TemplateNotFound" in (rows()[0].last_error or "")


def test_no_header_can_be_smuggled_in(sending: Server) -> None:
    for address in ("ann@example.com\r\nBcc: all@example.com", "ann@example.com\nX: y"):
        queue(to=address, key=address)
    outbox.send_due()
    assert sending.received == []
    assert {row.status for row in rows()} == {"pending"}


@pytest.mark.parametrize(
    ("host", "reached"), [("bücher.example", "xn--bcher-kva.example"), ("straße.example", "xn--strae-oqa.example")]
)
def test_an_address_with_a_foreign_host_name_is_reached_and_not_a_look_alike(
    sending: Server, host: str, reached: str
) -> None:
    queue(to=f"ann@{host}")
    outbox.send_due()
    assert sending.received[0]["To"] == f"ann@{reached}"


def test_without_a_server_mail_is_kept(context: Flask) -> None:
    queue()
    assert outbox.send_due() == 1
    assert rows()[0].status == "kept"
    assert rows()[0].sent_at is None


def test_the_outbox_holds_no_secret(app: Flask) -> None:
    from tests.auth import mailbox
    from tests.persons import post, sign_up

    sign_up(app)
    client = app.test_client()
    post(client, "/password/forgot", email="ann@example.com")
    post(client, "/register", email="bob@example.com", password="correct horse battery")
    links = [mailbox.link(app, "/password/reset/"), mailbox.link(app, "/verify/")]
    with app.app_context():
        stored = json.dumps([{c.name: str(getattr(row, c.name)) for c in row.__table__.columns} for row in rows()])
    for link in links:
        assert link.rpartition("/")[2] not in stored
    assert "correct horse" not in stored


def test_the_oldest_waiting_mail_is_known(context: Flask, clock: Clock) -> None:
    assert outbox.oldest_pending_at(db.session()) is None
    queue()
    since = app_clock.now()
    clock.advance(minutes=5)
    waiting = outbox.oldest_pending_at(db.session())
    assert waiting is not None
    assert abs((waiting - since).total_seconds()) < 2


def test_a_password_is_never_sent_to_a_server_without_tls(
    context: Flask, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(context, monkeypatch, server.url.replace("smtp://", "smtp://ann:secret@"))  # type: ignore[attr-defined]
    queue()
    assert outbox.send_due() == 0
    assert server.received == []
    assert "STARTTLS" in (rows()[0].last_error or "")
