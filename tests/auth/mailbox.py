"""The mailbox of a test: reads the outbox as the person it is for would read the mail."""

from __future__ import annotations

import json
import re
from email.message import EmailMessage

from flask import Flask
from sqlalchemy import select

from extensions import db
from mail import preparing, rendering
from mail.models import Email
from mail.preparing import NotNeeded, Prepared

BASE = "http://127.0.0.1:5000"


def letters(app: Flask) -> list[EmailMessage]:
    """Return every mail that would leave now, the oldest first."""
    with app.app_context():
        found = []
        for email in db.session.scalars(select(Email).order_by(Email.id)):
            try:
                mail = Prepared(email.template, email.to_address, json.loads(email.context))
                found.append(rendering.render(preparing.prepare(db.session(), mail), email.uuid))
            except NotNeeded:
                continue
        return found


def text(message: EmailMessage) -> str:
    """Return the words of a mail."""
    part = message.get_body(("plain",))
    assert part is not None
    return str(part.get_content())


def link(app: Flask, path: str) -> str:
    """Return the newest link to a path such as /verify/, without the host that every link must begin with."""
    found = [url for message in letters(app) for url in re.findall(r"https?://\S+", text(message)) if path in url]
    assert found, f"no mail has a link to {path}"
    assert all(url.startswith(BASE + path) for url in found)
    return found[-1].removeprefix(BASE)
