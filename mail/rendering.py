"""Turns a prepared mail into a message: subject, text and HTML from templates/mail/<template>/."""

from __future__ import annotations

from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from typing import Any
from urllib.parse import urlsplit

from email_validator import validate_email
from flask import current_app

import clock
from config import Config
from mail import links
from mail.preparing import Prepared


def render(mail: Prepared, uuid: str) -> EmailMessage:
    """Return the message; its Message-ID follows from the outbox row's uuid: sent twice it is the same mail."""
    config: Config = current_app.config["TOLLGATE"]
    facts = {
        **mail.context,
        "app_name": config.app_name,
        "support_email": config.support_email,
        "base_url": config.app_base_url,
        "to": mail.to,
        "link": links.to,
    }
    message = EmailMessage(policy=SMTP)
    message["Subject"] = " ".join(part(mail, "subject.txt", facts).split())
    message["From"] = config.mail_from
    message["To"] = _recipient(mail.to)
    if mail.reply_to is not None:
        message["Reply-To"] = _recipient(mail.reply_to)
    message["Date"] = format_datetime(clock.now())
    message["Message-ID"] = f"<{uuid}@{_domain(config)}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(part(mail, "body.txt", facts).strip() + "\n")
    message.add_alternative(part(mail, "body.html", facts), subtype="html")
    return message


def part(mail: Prepared, name: str, facts: dict[str, Any]) -> str:
    """Render one of the mail's templates; no request is needed and no page context leaks in."""
    return current_app.jinja_env.get_template(f"mail/{mail.template}/{name}").render(facts)


def _recipient(address: str) -> Address:
    local, _, domain = address.rpartition("@")
    if not domain.isascii():
        # Python's own idna codec follows the rules of 2003, which send mail for straße.example to strasse.example.
        domain = validate_email(address, check_deliverability=False).ascii_domain
    return Address(username=local, domain=domain)


def _domain(config: Config) -> str:
    sender = parseaddr(config.mail_from)[1].rpartition("@")[2]
    return sender or urlsplit(config.app_base_url).hostname or "localhost"
