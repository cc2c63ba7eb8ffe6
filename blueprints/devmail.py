"""The mail that would have been sent, to read on the machine of a developer who has no mail server.

Registered only while MAIL_URL is empty and the site is not public. The mails are rendered when they are looked at, so
that their links are fresh and the table holds no secret.
"""

from __future__ import annotations

import json
from email.message import EmailMessage

from flask import Blueprint, Response, abort, current_app, render_template
from sqlalchemy import select

from config import Config
from extensions import db
from mail import preparing, rendering
from mail.models import Email
from mail.preparing import NotNeeded, Prepared
from web import gates, headers

bp = Blueprint("devmail", __name__, url_prefix="/dev/mail")

NEWEST = 50
# Mail programs know inline styles only, so this one document may have them; it is shown in a frame without powers.
MAIL_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'; sandbox allow-top-navigation-by-user-activation"
)


@bp.get("")
@gates.public
def index() -> str:
    """List the kept mails, the newest first."""
    emails = db.session.scalars(select(Email).order_by(Email.id.desc()).limit(NEWEST)).all()
    return render_template("devmail/index.html", letters=[(email, _rendered(email)) for email in emails])


@bp.get("/<uuid>")
@gates.public
def show(uuid: str) -> Response:
    """Show one mail as people get it, in words and as a page."""
    email = _email(uuid)
    page = render_template("devmail/show.html", email=email, message=_rendered(email))
    policy = headers.content_security_policy(current_app.config["TOLLGATE"], frame_src="'self'")
    return Response(page, headers={"Content-Security-Policy": policy})


@bp.get("/<uuid>/html")
@gates.public
def html(uuid: str) -> Response:
    """Return the HTML part alone; its links open in the whole window."""
    message = _rendered(_email(uuid))
    if message is None:
        abort(404)
    page = body(message, "html").replace("<head>", '<head><base target="_top">', 1)
    return Response(page, headers={"Content-Security-Policy": MAIL_POLICY, "X-Frame-Options": "SAMEORIGIN"})


def is_available(config: Config) -> bool:
    """Tell whether mail is kept here to be read: no server takes it, and nobody else can look."""
    return not config.mail_url and not config.is_public


def body(message: EmailMessage, kind: str) -> str:
    """Return the `plain` or `html` part of a message."""
    part = message.get_body((kind,))
    return str(part.get_content()) if part is not None else ""


def _email(uuid: str) -> Email:
    email = db.session.scalar(select(Email).where(Email.uuid == uuid))
    return email if email is not None else abort(404)


def _rendered(email: Email) -> EmailMessage | None:
    """Return the message, or None when it would not be sent any more."""
    try:
        mail = Prepared(email.template, email.to_address, json.loads(email.context))
        return rendering.render(preparing.prepare(db.session(), mail), email.uuid)
    except NotNeeded:
        return None


bp.add_app_template_global(body, "mail_body")
