"""The tables of people: who signs in (users, sessions), who is billed (accounts), and who shares an account."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import ClassVar

from flask_security import RoleMixin, UserMixin
from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    String,
    Table,
    Text,
    UniqueConstraint,
    select,
    text,
)
from sqlalchemy.orm import Mapped, MappedSQLExpression, column_property, mapped_column, relationship

import clock
from database import BigId, UtcDateTime
from extensions import Base

OWNER = "owner"
ADMIN = "admin"
MEMBER = "member"
# What a role may do, the next one may too.
ROLES = (MEMBER, ADMIN, OWNER)
STAFF = "admin"  # the role for the whole site, not the one inside an account


def new_public_id() -> str:
    """Return 128 random bits as 32 hexadecimal digits: safe to show, useless to guess."""
    return secrets.token_hex(16)


user_roles = Table(
    "user_roles",
    Base.metadata,
    Column("user_id", BigId, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("role_id", BigId, ForeignKey("roles.id", ondelete="CASCADE"), primary_key=True),
)


class Role(Base, RoleMixin):
    """What a person may do for the whole site, such as `admin`; roles inside an account are in Membership."""

    __tablename__ = "roles"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    name: Mapped[str] = mapped_column(String(80), unique=True)
    description: Mapped[str | None] = mapped_column(String(255))


class User(Base, UserMixin):
    """A person who can sign in.

    `email` is where mail goes, as it was written; `email_key` is who the person is (identity.email_key) and is unique,
    so that Ann@example.com and ann@example.com are one person. A write that was based on an outdated reading of the
    row fails with StaleDataError: that is what makes a reset link work once, however many requests race for it.
    """

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    email: Mapped[str] = mapped_column(String(254))
    email_key: Mapped[str] = mapped_column(String(640), unique=True)
    password: Mapped[str | None] = mapped_column(String(255))
    active: Mapped[bool] = mapped_column(default=True)
    confirmed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    # Flask-Security's key of a person in its tokens; a new one makes every earlier token and session worthless.
    fs_uniquifier: Mapped[str] = mapped_column(String(64), unique=True)
    row_version: Mapped[int] = mapped_column()
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=clock.now)

    roles: Mapped[list[Role]] = relationship(secondary=user_roles)  # type: ignore[assignment]
    is_staff: ClassVar[MappedSQLExpression[bool]]

    __mapper_args__ = {"version_id_col": row_version}

    @property
    def is_verified(self) -> bool:
        """Whether the person has shown that the address is theirs."""
        return self.confirmed_at is not None

    def __repr__(self) -> str:
        return f"<User {self.id}>"


# Read with the person, because every page's menu asks for it.
User.is_staff = column_property(
    select(user_roles.c.user_id)
    .join(Role, Role.id == user_roles.c.role_id)
    .where(user_roles.c.user_id == User.id, Role.name == STAFF)
    .correlate(User.__table__)
    .exists()
)


class Account(Base):
    """Who is billed: customer, subscription, wallet and product data hang on it.

    Every user gets a personal one at sign-up (`personal_user_id`) and never hears the word. One that was handed over
    to somebody else is personal to nobody any more.
    """

    __tablename__ = "accounts"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    public_id: Mapped[str] = mapped_column(String(32), unique=True, default=new_public_id)
    name: Mapped[str] = mapped_column(String(254))
    stripe_customer_id: Mapped[str | None] = mapped_column(String(255), unique=True)
    personal_user_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("users.id"), unique=True)
    # What billing has to say on every page, as JSON of its own: here because every page reads this row anyway.
    billing_notice: Mapped[str | None] = mapped_column(Text)
    # When its owner deleted it: nobody acts for it any more, and its books stay.
    closed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=clock.now)

    def __repr__(self) -> str:
        return f"<Account {self.public_id}>"


class FormerCustomer(Base):
    """A customer at Stripe that was an account's until it was deleted there; what it had bought still is."""

    __tablename__ = "former_customers"

    stripe_customer_id: Mapped[str] = mapped_column(String(255), primary_key=True)
    account_id: Mapped[int] = mapped_column(BigId, ForeignKey("accounts.id"), index=True)
    replaced_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Membership(Base):
    """A person's part in an account; the database holds that at most one owns it."""

    __tablename__ = "memberships"
    __table_args__ = (
        UniqueConstraint("account_id", "user_id"),
        Index(
            "ix_memberships_owner",
            "account_id",
            unique=True,
            sqlite_where=text("role = 'owner'"),
            postgresql_where=text("role = 'owner'"),
        ),
        CheckConstraint("role IN ('owner', 'admin', 'member')", name="role"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    account_id: Mapped[int] = mapped_column(BigId, ForeignKey("accounts.id"))
    user_id: Mapped[int] = mapped_column(BigId, ForeignKey("users.id"), index=True)
    role: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=clock.now)


class Invitation(Base):
    """A person asked into an account: for one address, for a week, once.

    The mailed link carries a token that is made of `token_seed` and the site's secret key when the mail leaves; the
    row holds its SHA-256 alone. At most one invitation of an account waits for an address.
    """

    __tablename__ = "invitations"
    __table_args__ = (
        Index(None, "email_key"),
        Index(
            "ix_invitations_open",
            "account_id",
            "email_key",
            unique=True,
            sqlite_where=text("accepted_at IS NULL AND withdrawn_at IS NULL"),
            postgresql_where=text("accepted_at IS NULL AND withdrawn_at IS NULL"),
        ),
        CheckConstraint("role IN ('admin', 'member')", name="role"),
        CheckConstraint("accepted_at IS NULL OR withdrawn_at IS NULL", name="one_end"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    public_id: Mapped[str] = mapped_column(String(32), unique=True, default=new_public_id)
    account_id: Mapped[int] = mapped_column(BigId, ForeignKey("accounts.id"))
    email: Mapped[str] = mapped_column(String(254))
    email_key: Mapped[str] = mapped_column(String(640))
    role: Mapped[str] = mapped_column(String(16))
    token_seed: Mapped[str] = mapped_column(String(32))
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    invited_by: Mapped[int] = mapped_column(BigId, ForeignKey("users.id"))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=clock.now)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
    accepted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    accepted_by: Mapped[int | None] = mapped_column(BigId, ForeignKey("users.id"))
    withdrawn_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class UserSession(Base):
    """One signed-in browser, which can be revoked; its cookie carries the secret whose SHA-256 is `token_hash`."""

    __tablename__ = "user_sessions"
    __table_args__ = (
        Index(None, "user_id", "revoked_at"),
        Index(None, "expires_at"),
        CheckConstraint("idle_expires_at <= expires_at", name="idle_ends_first"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    user_id: Mapped[int] = mapped_column(BigId, ForeignKey("users.id", ondelete="CASCADE"))
    is_remembered: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=clock.now)
    # When the password was last asked for again; until then it was given where the session began.
    confirmed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_seen_at: Mapped[datetime] = mapped_column(UtcDateTime)
    idle_expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    address: Mapped[str] = mapped_column(String(64), default="")
    user_agent: Mapped[str] = mapped_column(String(255), default="")


class Signup(Base):
    """A wish to become a user that waits for the address to be confirmed; several may wait for one address.

    Nothing of a user exists until then, so an address cannot be taken hostage, and registering a known address and a
    new one are the same work. `browser_hash` belongs to the browser that asked: there the mailed link is enough, in
    any other the password is asked for, so that nobody can be talked into confirming a stranger's sign-up.
    """

    __tablename__ = "signups"
    __table_args__ = (Index(None, "email_key", "created_at"), Index(None, "expires_at"))

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    public_id: Mapped[str] = mapped_column(String(32), unique=True, default=new_public_id)
    email: Mapped[str] = mapped_column(String(254))
    email_key: Mapped[str] = mapped_column(String(640))
    password: Mapped[str] = mapped_column(String(255))
    browser_hash: Mapped[str] = mapped_column(String(64), unique=True)
    next_path: Mapped[str] = mapped_column(String(2000), default="")
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=clock.now)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
    confirmed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
