"""Passwords: how they are stored and compared, and which ones are refused.

The rules are NIST SP 800-63B's and OWASP's: 8 to 128 characters of any kind, no rules of composition, and none that
attackers try first.
"""

from __future__ import annotations

import threading
import unicodedata
from functools import cache
from pathlib import Path

from flask import current_app
from flask_security import hash_password
from flask_security.utils import verify_password

MIN_LENGTH = 8
MAX_LENGTH = 128
# argon2 fills memory and a core on purpose; without a limit a flood of log-ins would take all of both.
_slots = threading.BoundedSemaphore(2)


def hashed(password: str) -> str:
    """Return the argon2id hash of a password; slow, so never call it inside a transaction."""
    with _slots:
        return str(hash_password(normal(password)))


def matches(password: str, password_hash: str | None) -> bool:
    """Tell whether a password fits its hash; without a hash it takes as long and the answer is no."""
    with _slots:
        fits = bool(verify_password(normal(password), password_hash or _dummy_hash()))
    return fits and password_hash is not None


def needs_rehash(password_hash: str) -> bool:
    """Tell whether a hash was made with other settings than today's."""
    return bool(current_app.extensions["security"].pwd_context.needs_update(password_hash))


def normal(password: str) -> str:
    """Unify spellings of the same characters, so that a password fits on every keyboard."""
    return unicodedata.normalize("NFKC", password)


def problem(password: str, *, email: str = "", app_name: str = "") -> str | None:
    """Return what is wrong with a new password, in words for the person who chose it; None when it is fine."""
    length = len(normal(password))
    if length < MIN_LENGTH:
        return f"Use at least {MIN_LENGTH} characters. A few random words are easy to remember and hard to guess."
    if length > MAX_LENGTH:
        return f"Use at most {MAX_LENGTH} characters."
    key = normal(password).casefold()
    stem = key.rstrip("0123456789!?.*#$%&@_- ")
    personal = {email.casefold(), email.partition("@")[0].casefold(), app_name.casefold()} - {""}
    if key in personal or stem in personal:
        return "Use something that is not your e-mail address or the name of this site."
    if len(set(key)) == 1 or key in _common() or stem in _common():
        return "This is one of the passwords that attackers try first. Choose another one."
    return None


@cache
def _common() -> frozenset[str]:
    return frozenset((Path(__file__).parent / "common_passwords.txt").read_text(encoding="utf-8").split())


def _dummy_hash() -> str:
    """Return a hash with today's settings that no password fits, made once per application."""
    security = current_app.extensions["security"]
    if not hasattr(security, "tollgate_dummy_hash"):
        security.tollgate_dummy_hash = hash_password("nobody's password")
    return str(security.tollgate_dummy_hash)
