"""Why a visitor is turned away at a gate, where that has nothing to do with billing."""

from __future__ import annotations


class Refusal(Exception):
    """A visitor may not enter, as things are."""

    status = 403


class LoginRequired(Refusal):
    """Nobody is signed in."""

    status = 401


class KeyRefused(LoginRequired):
    """The API key is unknown or revoked, or nobody stands behind it any more; which of these is not told."""


class ApiClosed(Refusal):
    """The key is good, but the account's plan does not open the API; `plans` are the keys of those that do."""

    def __init__(self, plans: tuple[str, ...]) -> None:
        super().__init__(f"plans {plans}")
        self.plans = plans


class VerificationRequired(Refusal):
    """The person has not shown yet that the e-mail address is theirs."""

    status = 403


class RoleRequired(Refusal):
    """What the person wants is for a higher role in the account: `wanted`; `owner` is whom to ask."""

    status = 403

    def __init__(self, owner: str, wanted: str) -> None:
        super().__init__(f"for the role {wanted} in the account")
        self.owner = owner
        self.wanted = wanted


class PasswordRequired(Refusal):
    """The person gave their password too long ago for something that a thief of their browser should not do."""

    status = 403


class AccountLost(Refusal):
    """The person sent a form for an account that they do not belong to any more."""

    status = 409
