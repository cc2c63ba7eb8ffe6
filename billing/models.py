"""Tables of money: what Stripe told us, what we must ask it again, and what we made of it."""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from database import BigId, UtcDateTime
from extensions import Base


class Status(StrEnum):
    """The states of a subscription, in Stripe's words."""

    TRIALING = "trialing"
    ACTIVE = "active"
    PAST_DUE = "past_due"
    PAUSED = "paused"
    UNPAID = "unpaid"
    INCOMPLETE = "incomplete"
    INCOMPLETE_EXPIRED = "incomplete_expired"
    CANCELED = "canceled"


class StripeEvent(Base):
    """One verified event, stored once however often it is delivered."""

    __tablename__ = "stripe_events"
    __table_args__ = (
        CheckConstraint("source IN ('webhook', 'poll', 'manual')", name="source"),
        Index("ix_stripe_events_object", "object_kind", "object_id"),
    )

    stripe_id: Mapped[str] = mapped_column(String(255), primary_key=True)
    type: Mapped[str] = mapped_column(String(100))
    api_version: Mapped[str | None] = mapped_column(String(40))
    livemode: Mapped[bool]
    # What the event made dirty; both are null when the event is of no interest.
    object_kind: Mapped[str | None] = mapped_column(String(30))
    object_id: Mapped[str | None] = mapped_column(String(255))
    payload: Mapped[str] = mapped_column(Text)
    source: Mapped[str] = mapped_column(String(10))
    deliveries: Mapped[int] = mapped_column(server_default="1")
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    received_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)


class SyncTask(Base):
    """One Stripe object that may have changed: the level-triggered work queue.

    `dirty` counts the reasons to fetch it again, `clean` how many of them the last successful sync covered. `fence`
    is a ticket taken before each fetch, so that a slow fetch cannot overwrite what a later one has seen.
    """

    __tablename__ = "sync_tasks"
    __table_args__ = (
        CheckConstraint("clean <= dirty", name="clean_covers_dirty"),
        CheckConstraint("state IN ('live', 'dead')", name="state"),
        Index(
            "ix_sync_tasks_due",
            "next_at",
            sqlite_where=text("clean < dirty AND state = 'live'"),
            postgresql_where=text("clean < dirty AND state = 'live'"),
        ),
        Index(
            "ix_sync_tasks_dead",
            "first_dirty_at",
            sqlite_where=text("state = 'dead'"),
            postgresql_where=text("state = 'dead'"),
        ),
    )

    kind: Mapped[str] = mapped_column(String(30), primary_key=True)
    object_id: Mapped[str] = mapped_column(String(255), primary_key=True)
    dirty: Mapped[int] = mapped_column(server_default="0")
    clean: Mapped[int] = mapped_column(server_default="0")
    fence: Mapped[int] = mapped_column(server_default="0")
    attempts: Mapped[int] = mapped_column(server_default="0")
    next_at: Mapped[datetime] = mapped_column(UtcDateTime)
    leased_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    leased_by: Mapped[str | None] = mapped_column(String(100))
    state: Mapped[str] = mapped_column(String(4), server_default="live")
    last_error: Mapped[str | None] = mapped_column(Text)
    first_dirty_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    # Since when it has met nothing but passing errors; moved on whenever they are counted against the object itself.
    failing_since: Mapped[datetime | None] = mapped_column(UtcDateTime)


class StripeObject(Base):
    """Stripe's own words about one object, as last fetched; the typed tables are written beside it."""

    __tablename__ = "stripe_objects"
    __table_args__ = (Index("ix_stripe_objects_kind_fetched_at", "kind", "fetched_at"),)

    kind: Mapped[str] = mapped_column(String(30), primary_key=True)
    stripe_id: Mapped[str] = mapped_column(String(255), primary_key=True)
    stripe_customer_id: Mapped[str | None] = mapped_column(String(255), index=True)
    applied_fence: Mapped[int] = mapped_column(server_default="0")
    fetched_at: Mapped[datetime] = mapped_column(UtcDateTime)
    body: Mapped[str] = mapped_column(Text)
    # When a comparison last met it at Stripe; what it does not meet there is asked for by itself.
    compared_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class Subscription(Base):
    """A subscription at Stripe, as far as the app decides by it."""

    __tablename__ = "subscriptions"
    __table_args__ = (
        Index(
            "uq_subscriptions_primary",
            "account_id",
            unique=True,
            sqlite_where=text("is_primary"),
            postgresql_where=text("is_primary"),
        ),
    )

    stripe_id: Mapped[str] = mapped_column(String(255), primary_key=True)
    account_id: Mapped[int] = mapped_column(BigId, ForeignKey("accounts.id"), index=True)
    stripe_status: Mapped[str] = mapped_column(String(30))
    # Null when the price is not in the catalogue: such a subscription gives no access and the doctor reports it.
    price_key: Mapped[str | None] = mapped_column(String(100))
    plan_key: Mapped[str | None] = mapped_column(String(100))
    stripe_price_id: Mapped[str] = mapped_column(String(255))
    # What a period costs at Stripe: the catalogue may ask more of new subscribers. Null where no whole amount is fixed.
    amount_cents: Mapped[int | None]
    currency: Mapped[str | None] = mapped_column(String(3))
    quantity: Mapped[int]
    period_starts_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    period_ends_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    trial_ends_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    # When it will end if nobody resumes it: `cancel_at`, or the period's end with `cancel_at_period_end`.
    cancels_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    past_due_since: Mapped[datetime | None] = mapped_column(UtcDateTime)
    # While it is paused: until when the plan stays open, because that much was paid for. Null: it is closed at once.
    open_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    # What its next invoice will be charged to; all null when there is nothing to charge.
    payment_method_id: Mapped[str | None] = mapped_column(String(255))
    card_brand: Mapped[str | None] = mapped_column(String(40))
    card_last4: Mapped[str | None] = mapped_column(String(4))
    card_expires_on: Mapped[date | None]
    is_primary: Mapped[bool] = mapped_column(server_default=text("false"))
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)
    synced_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Invoice(Base):
    """An invoice that Stripe has finalised, kept so that no page has to ask for it; amounts in cents."""

    __tablename__ = "invoices"
    __table_args__ = (
        Index("ix_invoices_account_issued", "account_id", "issued_at"),
        Index("ix_invoices_subscription", "stripe_subscription_id", "status"),
    )

    stripe_id: Mapped[str] = mapped_column(String(255), primary_key=True)
    account_id: Mapped[int] = mapped_column(BigId, ForeignKey("accounts.id"))
    stripe_subscription_id: Mapped[str | None] = mapped_column(String(255))
    number: Mapped[str | None] = mapped_column(String(255))
    # Stripe's words: open, paid, void, uncollectible; and why it was made, such as subscription_cycle.
    status: Mapped[str] = mapped_column(String(20))
    reason: Mapped[str] = mapped_column(String(50))
    description: Mapped[str] = mapped_column(String(255))
    currency: Mapped[str] = mapped_column(String(3))
    subtotal_cents: Mapped[int]
    tax_cents: Mapped[int]
    total_cents: Mapped[int]
    paid_cents: Mapped[int]
    remaining_cents: Mapped[int]
    # What a paid one was settled with in all: charges, the customer's balance, money outside Stripe. Null: not known.
    settled_cents: Mapped[int | None]
    # What credit notes gave back of that other than by refunds: to the customer's balance, or outside Stripe.
    credited_cents: Mapped[int] = mapped_column(server_default="0")
    attempts: Mapped[int]
    next_attempt_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    # The payment method that was refused last, and whether the bank only wants to see the customer.
    refused_method_id: Mapped[str | None] = mapped_column(String(255))
    wants_customer: Mapped[bool]
    hosted_url: Mapped[str | None] = mapped_column(Text)
    pdf_url: Mapped[str | None] = mapped_column(Text)
    issued_at: Mapped[datetime] = mapped_column(UtcDateTime)
    paid_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    synced_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Payment(Base):
    """One successful charge and what has become of it; amounts in cents."""

    __tablename__ = "payments"
    __table_args__ = (
        CheckConstraint("kind IN ('pack', 'subscription')", name="kind"),
        CheckConstraint("amount_cents >= 0 AND refunded_cents >= 0", name="amounts"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    account_id: Mapped[int] = mapped_column(BigId, ForeignKey("accounts.id"), index=True)
    stripe_charge_id: Mapped[str] = mapped_column(String(255), unique=True)
    stripe_payment_intent_id: Mapped[str | None] = mapped_column(String(255), index=True)
    stripe_invoice_id: Mapped[str | None] = mapped_column(String(255), index=True)
    stripe_checkout_session_id: Mapped[str | None] = mapped_column(String(255), index=True)
    kind: Mapped[str] = mapped_column(String(20))
    description: Mapped[str] = mapped_column(String(255))
    # The ledger's source of the credits that this charge paid for; null when it paid for none.
    grant_source: Mapped[str | None] = mapped_column(String(255))
    amount_cents: Mapped[int]
    currency: Mapped[str] = mapped_column(String(3))
    refunded_cents: Mapped[int] = mapped_column(server_default="0")
    dispute_status: Mapped[str | None] = mapped_column(String(40))
    paid_at: Mapped[datetime] = mapped_column(UtcDateTime)


class CheckoutIntent(Base):
    """What an account set out to buy, written down before Stripe is asked, so that no session is ever lost."""

    __tablename__ = "checkout_intents"
    __table_args__ = (
        CheckConstraint("mode IN ('payment', 'subscription')", name="mode"),
        CheckConstraint("status IN ('creating', 'open', 'complete', 'expired', 'failed')", name="status"),
        Index(
            "uq_checkout_intents_open_subscription",
            "account_id",
            unique=True,
            sqlite_where=text("mode = 'subscription' AND status IN ('creating', 'open')"),
            postgresql_where=text("mode = 'subscription' AND status IN ('creating', 'open')"),
        ),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    public_id: Mapped[str] = mapped_column(String(32), unique=True)
    account_id: Mapped[int] = mapped_column(BigId, ForeignKey("accounts.id"), index=True)
    mode: Mapped[str] = mapped_column(String(20))
    price_key: Mapped[str] = mapped_column(String(100))
    trial_days: Mapped[int] = mapped_column(server_default="0")
    status: Mapped[str] = mapped_column(String(10))
    # Where it is paid: on Stripe's own page, or embedded in ours.
    ui: Mapped[str] = mapped_column(String(10), server_default="hosted")
    stripe_session_id: Mapped[str | None] = mapped_column(String(255), unique=True)
    url: Mapped[str | None] = mapped_column(Text)
    # The page of this site that the buyer wanted when a gate sent them to the prices.
    next_path: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)


class TrialUse(Base):
    """One trial taken; each key may take one: the account, the normalised e-mail address, the card's fingerprint."""

    __tablename__ = "trial_uses"

    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    account_id: Mapped[int] = mapped_column(BigId, ForeignKey("accounts.id"), index=True)
    stripe_subscription_id: Mapped[str] = mapped_column(String(255))
    used_at: Mapped[datetime] = mapped_column(UtcDateTime)


class PlanGrant(Base):
    """The credits of one plan for one period, beside the ledger's own record: what an upgrade must not grant twice."""

    __tablename__ = "plan_grants"
    __table_args__ = (
        UniqueConstraint("account_id", "source"),
        Index("ix_plan_grants_subscription", "stripe_subscription_id", "ends_at"),
        Index("ix_plan_grants_account", "account_id", "ends_at"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    account_id: Mapped[int] = mapped_column(BigId, ForeignKey("accounts.id"))
    plan_key: Mapped[str] = mapped_column(String(100))
    # Both null for the free plan's allowance.
    stripe_subscription_id: Mapped[str | None] = mapped_column(String(255))
    stripe_invoice_id: Mapped[str | None] = mapped_column(String(255))
    source: Mapped[str] = mapped_column(String(255))
    credits: Mapped[int]
    starts_at: Mapped[datetime] = mapped_column(UtcDateTime)
    ends_at: Mapped[datetime] = mapped_column(UtcDateTime)
    # The end of what the invoices paid for: that of the year for each of its months; null for the free plan's.
    paid_until: Mapped[datetime | None] = mapped_column(UtcDateTime)


class PriceMove(Base):
    """A subscriber who is moved from an old amount to the plan's present one: told first, then planned at Stripe."""

    __tablename__ = "price_moves"
    __table_args__ = (
        UniqueConstraint("stripe_subscription_id", "to_stripe_price_id", "takes_effect_at", name="uq_price_moves_once"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    account_id: Mapped[int] = mapped_column(BigId, ForeignKey("accounts.id"), index=True)
    stripe_subscription_id: Mapped[str] = mapped_column(String(255))
    price_key: Mapped[str] = mapped_column(String(100))
    from_stripe_price_id: Mapped[str] = mapped_column(String(255))
    to_stripe_price_id: Mapped[str] = mapped_column(String(255))
    # What a period costs before and after, for the whole quantity.
    from_cents: Mapped[int]
    to_cents: Mapped[int]
    currency: Mapped[str] = mapped_column(String(3))
    takes_effect_at: Mapped[datetime] = mapped_column(UtcDateTime)
    is_at_once: Mapped[bool]
    # Part of the key by which Stripe is told: a move that was given up and is made again needs another one.
    attempt: Mapped[int] = mapped_column(server_default="1")
    announced_at: Mapped[datetime] = mapped_column(UtcDateTime)
    # When Stripe had it; null while it is under way, or was interrupted.
    made_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class Cursor(Base):
    """How far a reader of a foreign list has come, such as the poller of Stripe's events.

    `position` is its own measure, mostly an epoch second; `last_id` the last object of a list read page by page.
    """

    __tablename__ = "cursors"

    name: Mapped[str] = mapped_column(String(50), primary_key=True)
    position: Mapped[int] = mapped_column(BigInteger)
    moved_at: Mapped[datetime] = mapped_column(UtcDateTime)
    last_id: Mapped[str | None] = mapped_column(String(255))
