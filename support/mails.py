"""What the mails about a question say: read from its row when they leave, so that its text is stored once."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import select
from sqlalchemy.orm import Session

from accounts.models import User
from mail.preparing import NotNeeded, Prepared, prepares
from support.models import SupportRequest


@prepares("support_request")
def complete_for_operator(session: Session, mail: Prepared) -> Prepared:
    """Return the mail to the operator, which is answered to the person who asked."""
    request, person = _asked(session, mail)
    return replace(mail, context={"request": request, "person": person.email}, reply_to=person.email)


@prepares("support_received")
def complete_for_asker(session: Session, mail: Prepared) -> Prepared:
    """Return the mail that tells the person by when they get an answer."""
    request, _ = _asked(session, mail)
    return replace(mail, context={"request": request})


def _asked(session: Session, mail: Prepared) -> tuple[SupportRequest, User]:
    query = select(SupportRequest, User).join(User, User.id == SupportRequest.user_id)
    row = session.execute(query.where(SupportRequest.public_id == mail.context["request"])).one_or_none()
    if row is None:
        raise NotNeeded("the question is gone")
    return row[0], row[1]
