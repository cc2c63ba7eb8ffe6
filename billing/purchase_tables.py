"""Tables of what is bought besides the first checkout: top-ups by saved card, gifts by code, payment links."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from database import BigId, UtcDateTime
from extensions import Base


class SavedCard(Base):
    """The card that an account's purchases by one click are charged to, as last seen at Stripe."""

    __tablename__ = "saved_cards"

    account_id: Mapped[int] = mapped_column(BigId, ForeignKey("accounts.id"), primary_key=True, autoincrement=False)
    stripe_payment_method_id: Mapped[str] = mapped_column(String(255))
    brand: Mapped[str] = mapped_column(String(40))
    last4: Mapped[str] = mapped_column(String(4))
    exp_month: Mapped[int]
    exp_year: Mapped[int]


class TopUp(Base):
    """One attempt to buy a pack with the saved card, written down before Stripe is asked.

    `credits`, `amount_cents` and the card are what was promised: the catalogue and the card may change meanwhile.
    """

    __tablename__ = "top_ups"
    __table_args__ = (
        CheckConstraint("kind IN ('click', 'auto')", name="kind"),
        CheckConstraint("status IN ('asking', 'paid', 'declined', 'challenged', 'failed')", name="status"),
        CheckConstraint("credits > 0 AND amount_cents > 0", name="amounts"),
        UniqueConstraint("account_id", "form_key"),
        Index(
            "uq_top_ups_asking_auto",
            "account_id",
            unique=True,
            sqlite_where=text("kind = 'auto' AND status = 'asking'"),
            postgresql_where=text("kind = 'auto' AND status = 'asking'"),
        ),
        Index(
            "ix_top_ups_asking",
            "next_at",
            sqlite_where=text("status = 'asking'"),
            postgresql_where=text("status = 'asking'"),
        ),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    public_id: Mapped[str] = mapped_column(String(32), unique=True)
    account_id: Mapped[int] = mapped_column(BigId, ForeignKey("accounts.id"))
    kind: Mapped[str] = mapped_column(String(5))
    # The one-time number of the form that asked for it; null when nobody clicked.
    form_key: Mapped[str | None] = mapped_column(String(255))
    price_key: Mapped[str] = mapped_column(String(100))
    name: Mapped[str] = mapped_column(String(255))
    credits: Mapped[int]
    amount_cents: Mapped[int]
    currency: Mapped[str] = mapped_column(String(3))
    stripe_payment_method_id: Mapped[str] = mapped_column(String(255))
    card: Mapped[str] = mapped_column(String(80))
    status: Mapped[str] = mapped_column(String(10))
    stripe_payment_intent_id: Mapped[str | None] = mapped_column(String(255), unique=True)
    # What the bank said, in Stripe's words for the customer.
    refusal: Mapped[str | None] = mapped_column(Text)
    attempts: Mapped[int] = mapped_column(server_default="0")
    next_at: Mapped[datetime] = mapped_column(UtcDateTime)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    settled_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class AutoTopUp(Base):
    """What an account agreed to be charged for when its credits run low, and whether that is called for now.

    `wanted_at` is set in the transaction of the spend that brought the balance below the threshold, and cleared by the
    worker once it has bought, or seen that the balance is high enough.
    """

    __tablename__ = "auto_top_ups"
    __table_args__ = (
        CheckConstraint("threshold_credits > 0 AND amount_cents > 0 AND monthly_cap_cents > 0", name="amounts"),
        CheckConstraint("declines >= 0", name="declines"),
        Index(
            "ix_auto_top_ups_wanted",
            "wanted_at",
            sqlite_where=text("is_on AND wanted_at IS NOT NULL"),
            postgresql_where=text("is_on AND wanted_at IS NOT NULL"),
        ),
    )

    account_id: Mapped[int] = mapped_column(BigId, ForeignKey("accounts.id"), primary_key=True, autoincrement=False)
    is_on: Mapped[bool]
    price_key: Mapped[str] = mapped_column(String(100))
    # What was agreed to: another amount in the catalogue stops it instead of being charged.
    amount_cents: Mapped[int]
    currency: Mapped[str] = mapped_column(String(3))
    threshold_credits: Mapped[int]
    monthly_cap_cents: Mapped[int]
    # The words beside the box that was ticked, and by whom.
    consent: Mapped[str] = mapped_column(Text)
    agreed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    agreed_by: Mapped[int] = mapped_column(BigId, ForeignKey("users.id"))
    declines: Mapped[int] = mapped_column(server_default="0")
    wanted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    # Not tried again before: after a decline, or because the month's cap is reached.
    not_before: Mapped[datetime | None] = mapped_column(UtcDateTime)
    stopped_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    stop_reason: Mapped[str | None] = mapped_column(String(20))


class CreditCode(Base):
    """A code that gives credits without money: so many times in all, once per account."""

    __tablename__ = "credit_codes"
    __table_args__ = (
        CheckConstraint("credits > 0", name="credits"),
        CheckConstraint("uses >= 0 AND uses <= max_uses", name="uses"),
    )

    code: Mapped[str] = mapped_column(String(40), primary_key=True)
    credits: Mapped[int]
    max_uses: Mapped[int]
    uses: Mapped[int] = mapped_column(server_default="0")
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    note: Mapped[str] = mapped_column(Text, server_default="")
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class CreditCodeUse(Base):
    """That an account has used a code."""

    __tablename__ = "credit_code_uses"

    code: Mapped[str] = mapped_column(String(40), ForeignKey("credit_codes.code"), primary_key=True)
    account_id: Mapped[int] = mapped_column(BigId, ForeignKey("accounts.id"), primary_key=True, autoincrement=False)
    used_at: Mapped[datetime] = mapped_column(UtcDateTime)


class LinkPurchase(Base):
    """A pack paid through a payment link, perhaps by somebody without an account: it waits for that address.

    The account, once written down, never changes: whoever has the address later gets nothing of it.
    """

    __tablename__ = "link_purchases"
    __table_args__ = (Index("ix_link_purchases_waiting", "email_key", "account_id"),)

    stripe_checkout_session_id: Mapped[str] = mapped_column(String(255), primary_key=True)
    email_key: Mapped[str] = mapped_column(String(640))
    account_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("accounts.id"), index=True)
    # What Stripe said of the session: `fulfilment.fulfil_session` takes it when the account is known.
    body: Mapped[str] = mapped_column(Text)
    stripe_charge_id: Mapped[str | None] = mapped_column(String(255), unique=True)
    paid_at: Mapped[datetime] = mapped_column(UtcDateTime)
    claimed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
