"""Create changes of address, each until its new address is confirmed, and what Stripe has yet to be told of them."""

import sqlalchemy as sa
from alembic import op

import database

revision = "create_email_changes"
down_revision = "know_former_customers"
branch_labels = None
depends_on = None


def upgrade():
    op.create_table(
        "email_changes",
        sa.Column("id", database.BigId, nullable=False),
        sa.Column("public_id", sa.String(32), nullable=False),
        sa.Column("user_id", database.BigId, nullable=False),
        sa.Column("email", sa.String(254), nullable=False),
        sa.Column("email_key", sa.String(640), nullable=False),
        sa.Column("created_at", database.UtcDateTime(), nullable=False),
        sa.Column("expires_at", database.UtcDateTime(), nullable=False),
        sa.Column("confirmed_at", database.UtcDateTime(), nullable=True),
        sa.Column("cancelled_at", database.UtcDateTime(), nullable=True),
        sa.CheckConstraint("confirmed_at IS NULL OR cancelled_at IS NULL", name="ck_email_changes_one_end"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_email_changes_user_id_users"),
        sa.PrimaryKeyConstraint("id", name="pk_email_changes"),
        sa.UniqueConstraint("public_id", name="uq_email_changes_public_id"),
    )
    is_open = sa.text("confirmed_at IS NULL AND cancelled_at IS NULL")
    op.create_index("ix_email_changes_user_id", "email_changes", ["user_id"])
    op.create_index(
        "ix_email_changes_open",
        "email_changes",
        ["user_id"],
        unique=True,
        sqlite_where=is_open,
        postgresql_where=is_open,
    )
    op.create_table(
        "address_errands",
        sa.Column("account_id", database.BigId, nullable=False),
        sa.Column("wanted", sa.Integer(), nullable=False),
        sa.Column("told", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", database.UtcDateTime(), nullable=False),
        sa.Column("leased_until", database.UtcDateTime(), nullable=True),
        sa.Column("last_error", sa.String(500), nullable=True),
        sa.CheckConstraint("told <= wanted", name="ck_address_errands_told"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_address_errands_account_id_accounts"),
        sa.PrimaryKeyConstraint("account_id", name="pk_address_errands"),
    )
    op.create_index("ix_address_errands_next_at", "address_errands", ["next_at"])


def downgrade():
    op.drop_table("address_errands")
    op.drop_table("email_changes")
