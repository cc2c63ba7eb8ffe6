"""Create the demo product's reports."""

import sqlalchemy as sa
from alembic import op

import database

revision = "create_reports"
down_revision = "create_outbox"
branch_labels = None
depends_on = None


def upgrade():
    op.create_table(
        "reports",
        sa.Column("id", database.BigId, nullable=False),
        sa.Column("public_id", sa.String(32), nullable=False),
        sa.Column("account_id", database.BigId, nullable=False),
        sa.Column("user_id", database.BigId, nullable=False),
        sa.Column("transaction_id", database.BigId, nullable=False),
        sa.Column("idempotency_key", sa.String(255), nullable=False),
        sa.Column("title", sa.String(80), nullable=False),
        sa.Column("score", sa.Integer(), nullable=False),
        sa.Column("pages", sa.Integer(), nullable=False),
        sa.Column("credits", sa.Integer(), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("created_at", database.UtcDateTime(), nullable=False),
        sa.CheckConstraint("score BETWEEN 0 AND 100", name="ck_reports_score"),
        sa.CheckConstraint("pages > 0", name="ck_reports_pages"),
        sa.CheckConstraint("credits > 0", name="ck_reports_credits"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_reports_account_id_accounts"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_reports_user_id_users"),
        sa.ForeignKeyConstraint(
            ["transaction_id"], ["ledger_transactions.id"], name="fk_reports_transaction_id_ledger_transactions"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_reports"),
        sa.UniqueConstraint("public_id", name="uq_reports_public_id"),
        sa.UniqueConstraint("transaction_id", name="uq_reports_transaction_id"),
        sa.UniqueConstraint("account_id", "idempotency_key", name="uq_reports_account_id_idempotency_key"),
    )
    op.create_index("ix_reports_account_id_id", "reports", ["account_id", "id"])


def downgrade():
    op.drop_table("reports")
