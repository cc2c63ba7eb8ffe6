"""Keep what people ask support, and by when each was promised an answer."""

import sqlalchemy as sa
from alembic import op

import database

revision = "create_support"
down_revision = "create_price_moves"
branch_labels = None
depends_on = None


def upgrade():
    op.create_table(
        "support_requests",
        sa.Column("id", database.BigId, nullable=False),
        sa.Column("public_id", sa.String(32), nullable=False),
        sa.Column("account_id", database.BigId, nullable=False),
        sa.Column("user_id", database.BigId, nullable=False),
        sa.Column("subject", sa.String(120), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("is_priority", sa.Boolean(), nullable=False),
        sa.Column("idempotency_key", sa.String(255), nullable=False),
        sa.Column("created_at", database.UtcDateTime(), nullable=False),
        sa.Column("due_at", database.UtcDateTime(), nullable=False),
        sa.Column("answered_at", database.UtcDateTime(), nullable=True),
        sa.CheckConstraint("due_at > created_at", name="ck_support_requests_due_later"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_support_requests_account_id_accounts"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_support_requests_user_id_users"),
        sa.PrimaryKeyConstraint("id", name="pk_support_requests"),
        sa.UniqueConstraint("public_id", name="uq_support_requests_public_id"),
        sa.UniqueConstraint("user_id", "idempotency_key", name="uq_support_requests_user_id_idempotency_key"),
    )
    op.create_index("ix_support_requests_answered_at_due_at", "support_requests", ["answered_at", "due_at"])


def downgrade():
    op.drop_table("support_requests")
