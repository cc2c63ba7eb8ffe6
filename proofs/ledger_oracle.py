"""The ledger told again in plain Python, without a database: what the real one is compared with.

It shares no code with `ledger/`: lists, dictionaries, integers, and the rules as docs/ledger.md states them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

PRIORITY = {"trial": 0, "promo": 0, "adjust": 0, "plan": 1, "purchase": 2}
NEVER = datetime(9999, 1, 1, tzinfo=UTC)
RELEASE_GRACE = timedelta(hours=1)
RESTORE_GRACE = timedelta(days=7)


class Refused(Exception):
    """The oracle says no; the word is the name of the ledger's error."""


@dataclass
class Bucket:
    """Credits of one grant."""

    kind: str
    source: str
    granted: int
    left: int
    expires_at: datetime | None
    expired: int = 0
    # How the credits that are taken back now had been when they were taken.
    taken_unused: int = 0
    taken_expired: int = 0
    taken_used: int = 0
    version: int = 0

    @property
    def clawed(self) -> int:
        return self.taken_unused + self.taken_expired + self.taken_used


@dataclass
class Hold:
    """Credits set aside: pairs of bucket and amount."""

    parts: list[tuple[Bucket, int]]
    expires_at: datetime
    status: str = "open"
    captured: int = 0

    @property
    def credits(self) -> int:
        return sum(amount for _, amount in self.parts)


@dataclass
class Wallet:
    """One account's credits."""

    buckets: list[Bucket] = field(default_factory=list)
    holds: list[Hold] = field(default_factory=list)
    keys: dict[str, tuple[object, ...]] = field(default_factory=dict)
    freezes: set[str] = field(default_factory=set)
    debt: int = 0
    used: int = 0

    @property
    def balance(self) -> int:
        return sum(bucket.left for bucket in self.buckets)

    @property
    def held(self) -> int:
        return sum(hold.credits for hold in self.holds if hold.status == "open")

    def bucket(self, source: str) -> Bucket | None:
        return next((bucket for bucket in self.buckets if bucket.source == source), None)

    def in_spend_order(self) -> list[Bucket]:
        return sorted(self.buckets, key=lambda bucket: (bucket.expires_at or NEVER, PRIORITY[bucket.kind]))

    def pass_time(self, now: datetime) -> None:
        for bucket in self.buckets:
            if bucket.expires_at is not None and bucket.expires_at <= now:
                bucket.expired += bucket.left
                bucket.left = 0

    def grant(self, credits: int, kind: str, source: str, expires_at: datetime | None) -> bool:
        if self.bucket(source):
            return False
        repaid = self.repay(credits)
        self.buckets.append(Bucket(kind, source, credits, credits - repaid, expires_at))
        return True

    def repay(self, credits: int) -> int:
        repaid = min(credits, self.debt)
        self.debt -= repaid
        return repaid

    def is_replay(self, key: str, request: tuple[object, ...]) -> bool:
        if key not in self.keys:
            return False
        if self.keys[key] != request:
            raise Refused("IdempotencyConflict")
        return True

    def spend(self, credits: int, key: str, reason: str) -> bool:
        """Return whether it was new."""
        return bool(self._take(credits, f"spend {key}", (credits, reason)))

    def reserve(self, credits: int, key: str, reason: str, expires_at: datetime) -> bool:
        parts = self._take(credits, f"hold {key}", (credits, reason))
        if parts:
            self.used -= credits
            self.holds.append(Hold(parts, expires_at))
        return bool(parts)

    def _take(self, credits: int, key: str, request: tuple[object, ...]) -> list[tuple[Bucket, int]]:
        if self.is_replay(key, request):
            return []
        if self.freezes:
            raise Refused("WalletFrozen")
        if self.balance < credits:
            raise Refused("NotEnoughCredits")
        self.keys[key] = request
        self.used += credits
        return list(self._draw(credits))

    def _draw(self, credits: int) -> Iterator[tuple[Bucket, int]]:
        for bucket in self.in_spend_order():
            amount = min(credits, bucket.left)
            if amount:
                bucket.left -= amount
                credits -= amount
                yield bucket, amount

    def settle(self, hold: Hold, captured: int, status: str, now: datetime) -> None:
        if hold.status != "open":
            if hold.captured != captured:
                raise Refused("HoldSettled")
            return
        hold.status, hold.captured = status, captured
        self.used += captured
        for bucket, amount in hold.parts:
            charged = min(amount, captured)
            captured -= charged
            back = amount - charged
            back -= self.repay(back)
            self._return(bucket, back, now + RELEASE_GRACE, now)

    @staticmethod
    def _return(bucket: Bucket, credits: int, until: datetime, now: datetime) -> None:
        bucket.left += credits
        if credits and bucket.expires_at is not None and bucket.expires_at <= now:
            bucket.expires_at = until

    def claw_to(self, bucket: Bucket, target: int, version: int, now: datetime) -> bool:
        if version <= bucket.version:
            return False
        bucket.version = version
        if target > bucket.clawed:
            self._claw(bucket, target - bucket.clawed)
        else:
            self._restore(bucket, bucket.clawed - target, now)
        return True

    def _claw(self, bucket: Bucket, credits: int) -> None:
        unused = min(credits, bucket.left)
        expired = min(credits - unused, bucket.expired)
        used = credits - unused - expired
        bucket.left -= unused
        bucket.expired -= expired
        self.debt += used
        bucket.taken_unused += unused
        bucket.taken_expired += expired
        bucket.taken_used += used

    def _restore(self, bucket: Bucket, credits: int, now: datetime) -> None:
        used = min(credits, bucket.taken_used)
        expired = min(credits - used, bucket.taken_expired)
        unused = credits - used - expired
        bucket.taken_used -= used
        bucket.taken_expired -= expired
        bucket.taken_unused -= unused
        bucket.expired += expired
        used -= self.repay(used)
        unused -= self.repay(unused)
        on_hold = sum(amount for hold in self.holds if hold.status == "open" for b, amount in hold.parts if b is bucket)
        room = bucket.granted - bucket.left - on_hold
        is_over = bucket.expires_at is not None and bucket.expires_at <= now
        back = min(room, unused if is_over else unused + used)
        self._return(bucket, back, now + RESTORE_GRACE, now)
        if unused + used > back:
            source = f"restored:{bucket.version}:{bucket.source}"
            over = unused + used - back
            self.buckets.append(Bucket("adjust", source, over, over, None))

    def adjust(self, credits: int, key: str, reason: str) -> bool:
        if self.is_replay(f"adjust {key}", (credits, reason)):
            return False
        if -credits > self.balance:
            raise Refused("NotEnoughCredits")
        self.keys[f"adjust {key}"] = (credits, reason)
        if credits > 0:
            repaid = self.repay(credits)
            self.buckets.append(Bucket("adjust", f"adjust:{key}", credits, credits - repaid, None))
        else:
            list(self._draw(-credits))
        return True

    def forgive(self, credits: int, key: str, reason: str) -> bool:
        if self.is_replay(f"forgive {key}", (credits, reason)):
            return False
        if credits > self.debt:
            raise Refused("DebtSmaller")
        self.keys[f"forgive {key}"] = (credits, reason)
        self.debt -= credits
        return True
