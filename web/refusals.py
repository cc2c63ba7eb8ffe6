"""Why a visitor is turned away at a gate, where that has nothing to do with billing."""

from __future__ import annotations


class Refusal(Exception):
    """A visitor may not enter, as things are."""

    status = 403


class LoginRequired(Refusal):
    """Nobody is signed in."""

    status = 401


class VerificationRequired(Refusal):
    """The person has not shown yet that the e-mail address is theirs."""

    status = 403
