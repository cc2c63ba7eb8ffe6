"""What can stand in the way of a credit, as sentences with facts; `status` is the HTTP status that fits."""

from __future__ import annotations


class LedgerError(Exception):
    """The base of the ledger's refusals: nothing was changed."""

    status = 409


class NotEnoughCredits(LedgerError):
    """The wallet holds fewer credits than are needed."""

    status = 402

    def __init__(self, needed: int, balance: int) -> None:
        super().__init__(f"{needed} credits are needed and {balance} are left")
        self.needed = needed
        self.balance = balance

    @property
    def missing(self) -> int:
        """How many more credits would do."""
        return self.needed - self.balance


class WalletFrozen(LedgerError):
    """Spending is paused, for instance while a payment is disputed."""

    status = 403

    def __init__(self, reason: str) -> None:
        super().__init__(f"Spending is paused: {reason}")
        self.reason = reason


class IdempotencyConflict(LedgerError):
    """The key was used before, for something else."""

    def __init__(self, key: str) -> None:
        super().__init__(f"The idempotency key {key!r} was used before with another request: send a new key")
        self.key = key


class UnknownGrant(LedgerError):
    """The wallet has no grant from this source."""

    status = 404

    def __init__(self, source: str) -> None:
        super().__init__(f"There is no grant from {source!r}")
        self.source = source


class UnknownHold(LedgerError):
    """There is no such hold."""

    status = 404

    def __init__(self, hold_id: int) -> None:
        super().__init__(f"There is no hold {hold_id}")
        self.hold_id = hold_id


class HoldSettled(LedgerError):
    """The hold was settled before, in another way than is now asked for."""

    def __init__(self, hold_id: int, status: str, captured: int) -> None:
        super().__init__(f"Hold {hold_id} is {status} already, with {captured} credits captured")
        self.hold_id = hold_id
        self.hold_status = status
        self.captured = captured


class DebtSmaller(LedgerError):
    """Less is owed than should be forgiven."""

    def __init__(self, credits: int, debt: int) -> None:
        super().__init__(f"{credits} credits cannot be forgiven: {debt} are owed")
        self.credits = credits
        self.debt = debt


class LedgerCorrupt(Exception):
    """The rows contradict each other; the transaction must be rolled back and `flask doctor` run."""
