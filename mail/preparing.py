"""Decides what a mail says when it leaves, not when it was promised: secrets are made late, stale news dropped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.orm import Session

from accounts import people


class NotNeeded(Exception):
    """The mail has become pointless, for example because what it warns of was put right; the text says why."""


@dataclass(frozen=True)
class Prepared:
    """A mail ready to be rendered: which template, to whom, with what, and who gets its answer if not the sender."""

    template: str
    to: str
    context: dict[str, Any] = field(default_factory=dict)
    reply_to: str | None = None


Preparer = Callable[[Session, Prepared], Prepared]

_preparers: dict[str, Preparer] = {}


def prepares(template: str) -> Callable[[Preparer], Preparer]:
    """Register the function that completes mails of one template just before they are rendered.

    It reads through the session it is given, may choose another template or recipient, and raises NotNeeded to have
    the mail cancelled. What it returns is never stored.
    """

    def register(preparer: Preparer) -> Preparer:
        _preparers[template] = preparer
        return preparer

    return register


def prepare(session: Session, mail: Prepared) -> Prepared:
    """Return the mail as it shall leave now; raise NotNeeded when it shall not."""
    if people.is_nobody(mail.to):
        raise NotNeeded("the account was deleted")
    preparer = _preparers.get(mail.template)
    return preparer(session, mail) if preparer else mail
