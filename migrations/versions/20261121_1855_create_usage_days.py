"""Create the days of use: what old records are folded into, and the indexes that find them."""

import sqlalchemy as sa
from alembic import op

import database

revision = "create_usage_days"
down_revision = "create_invitations"
branch_labels = None
depends_on = None

NEVER_BILLED = sa.text("report_id IS NULL AND NOT is_billed")


def upgrade():
    op.create_table(
        "usage_days",
        sa.Column("account_id", database.BigId, nullable=False),
        sa.Column("meter", sa.String(40), nullable=False),
        sa.Column("used_on", sa.Date(), nullable=False),
        sa.Column("is_billed", sa.Boolean(), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.Column("records", sa.Integer(), nullable=False),
        sa.CheckConstraint("quantity > 0 AND records > 0", name="ck_usage_days_amounts"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_usage_days_account_id_accounts"),
        sa.PrimaryKeyConstraint("account_id", "meter", "used_on", "is_billed", name="pk_usage_days"),
    )
    op.create_index("ix_usage_reports_at", "usage_reports", ["at"])
    op.create_index(
        "ix_usage_records_never_billed",
        "usage_records",
        ["at"],
        sqlite_where=NEVER_BILLED,
        postgresql_where=NEVER_BILLED,
    )


def downgrade():
    op.drop_index("ix_usage_records_never_billed", "usage_records")
    op.drop_index("ix_usage_reports_at", "usage_reports")
    op.drop_table("usage_days")
