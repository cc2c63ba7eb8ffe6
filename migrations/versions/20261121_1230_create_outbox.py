"""Create the mail outbox."""

import sqlalchemy as sa
from alembic import op

import database

revision = "create_outbox"
down_revision = "create_billing"
branch_labels = None
depends_on = None


def upgrade():
    op.create_table(
        "emails",
        sa.Column("id", database.BigId, nullable=False),
        sa.Column("uuid", sa.String(32), nullable=False),
        sa.Column("dedupe_key", sa.String(255), nullable=False),
        sa.Column("account_id", database.BigId),
        sa.Column("to_address", sa.String(254), nullable=False),
        sa.Column("template", sa.String(80), nullable=False),
        sa.Column("context", sa.Text(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", database.UtcDateTime(), nullable=False),
        sa.Column("leased_until", database.UtcDateTime()),
        sa.Column("not_after", database.UtcDateTime()),
        sa.Column("sent_at", database.UtcDateTime()),
        sa.Column("last_error", sa.String(500)),
        sa.Column("created_at", database.UtcDateTime(), nullable=False),
        sa.CheckConstraint(
            "status IN ('pending', 'sent', 'kept', 'dead', 'cancelled')", name="ck_emails_status"
        ),
        sa.CheckConstraint("attempts >= 0", name="ck_emails_attempts"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_emails_account_id_accounts"),
        sa.PrimaryKeyConstraint("id", name="pk_emails"),
        sa.UniqueConstraint("uuid", name="uq_emails_uuid"),
        sa.UniqueConstraint("dedupe_key", name="uq_emails_dedupe_key"),
    )
    op.create_index("ix_emails_status_priority_next_at", "emails", ["status", "priority", "next_at"])
    op.create_index("ix_emails_to_address_created_at", "emails", ["to_address", "created_at"])
    op.create_index("ix_emails_account_id", "emails", ["account_id"])


def downgrade():
    op.drop_table("emails")
