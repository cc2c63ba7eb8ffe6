"""Create metered usage: the items that bill it, its records, its reports to Stripe, periods and caps."""

import sqlalchemy as sa
from alembic import op

import database

revision = "create_usage"
down_revision = "keep_invoices"
branch_labels = None
depends_on = None

UNREPORTED = sa.text("report_id IS NULL AND is_billed")
UNFLUSHED = sa.text("flushed_at IS NULL AND lost_at IS NULL")


def upgrade():
    op.create_table(
        "metered_items",
        sa.Column("stripe_subscription_id", sa.String(255), nullable=False),
        sa.Column("price_key", sa.String(100), nullable=False),
        sa.Column("account_id", database.BigId, nullable=False),
        sa.Column("meter", sa.String(40), nullable=False),
        sa.Column("stripe_item_id", sa.String(255), nullable=True),
        sa.Column("included_units", sa.BigInteger(), nullable=False),
        sa.Column("cents_per_unit", sa.Numeric(20, 12), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("starts_at", database.UtcDateTime(), nullable=True),
        sa.Column("ends_at", database.UtcDateTime(), nullable=True),
        sa.Column("renewed_from", database.UtcDateTime(), nullable=True),
        sa.Column("ended_at", database.UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_metered_items_account_id_accounts"),
        sa.PrimaryKeyConstraint("stripe_subscription_id", "price_key", name="pk_metered_items"),
    )
    op.create_index("ix_metered_items_account_id_meter", "metered_items", ["account_id", "meter"])
    op.create_table(
        "usage_reports",
        sa.Column("id", database.BigId, nullable=False),
        sa.Column("account_id", database.BigId, nullable=False),
        sa.Column("meter", sa.String(40), nullable=False),
        sa.Column("identifier", sa.String(32), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.Column("at", database.UtcDateTime(), nullable=False),
        sa.Column("minute", sa.BigInteger(), nullable=False),
        sa.Column("former_at", database.UtcDateTime(), nullable=True),
        sa.Column("former_minute", sa.BigInteger(), nullable=True),
        sa.Column("sent_at", database.UtcDateTime(), nullable=True),
        sa.Column("flushed_at", database.UtcDateTime(), nullable=True),
        sa.Column("lost_at", database.UtcDateTime(), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_at", database.UtcDateTime(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.CheckConstraint("quantity > 0", name="ck_usage_reports_quantity"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_usage_reports_account_id_accounts"),
        sa.PrimaryKeyConstraint("id", name="pk_usage_reports"),
        sa.UniqueConstraint("identifier", name="uq_usage_reports_identifier"),
        sa.UniqueConstraint("account_id", "meter", "minute", name="uq_usage_reports_account_id_meter_minute"),
    )
    op.create_index(
        "ix_usage_reports_due", "usage_reports", ["next_at"], sqlite_where=UNFLUSHED, postgresql_where=UNFLUSHED
    )
    op.create_table(
        "usage_records",
        sa.Column("id", database.BigId, nullable=False),
        sa.Column("account_id", database.BigId, nullable=False),
        sa.Column("meter", sa.String(40), nullable=False),
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.Column("at", database.UtcDateTime(), nullable=False),
        sa.Column("is_billed", sa.Boolean(), nullable=False),
        sa.Column("report_id", database.BigId, nullable=True),
        sa.CheckConstraint("quantity > 0", name="ck_usage_records_quantity"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_usage_records_account_id_accounts"),
        sa.ForeignKeyConstraint(["report_id"], ["usage_reports.id"], name="fk_usage_records_report_id_usage_reports"),
        sa.PrimaryKeyConstraint("id", name="pk_usage_records"),
        sa.UniqueConstraint("account_id", "meter", "key", name="uq_usage_records_account_id_meter_key"),
    )
    op.create_index("ix_usage_records_account_id_meter_at", "usage_records", ["account_id", "meter", "at"])
    op.create_index("ix_usage_records_report_id", "usage_records", ["report_id"])
    op.create_index(
        "ix_usage_records_unreported",
        "usage_records",
        ["account_id", "meter", "at"],
        sqlite_where=UNREPORTED,
        postgresql_where=UNREPORTED,
    )
    op.create_table(
        "usage_periods",
        sa.Column("account_id", database.BigId, nullable=False),
        sa.Column("meter", sa.String(40), nullable=False),
        sa.Column("starts_at", database.UtcDateTime(), nullable=False),
        sa.Column("used", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("carried", sa.BigInteger(), server_default="0", nullable=False),
        sa.CheckConstraint("used >= 0 AND carried >= 0", name="ck_usage_periods_amounts"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_usage_periods_account_id_accounts"),
        sa.PrimaryKeyConstraint("account_id", "meter", "starts_at", name="pk_usage_periods"),
    )
    op.create_table(
        "usage_caps",
        sa.Column("account_id", database.BigId, nullable=False),
        sa.Column("meter", sa.String(40), nullable=False),
        sa.Column("cap_cents", sa.Integer(), nullable=False),
        sa.Column("changed_at", database.UtcDateTime(), nullable=False),
        sa.CheckConstraint("cap_cents >= 0", name="ck_usage_caps_cap"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_usage_caps_account_id_accounts"),
        sa.PrimaryKeyConstraint("account_id", "meter", name="pk_usage_caps"),
    )
    op.create_table(
        "projects",
        sa.Column("id", database.BigId, nullable=False),
        sa.Column("public_id", sa.String(32), nullable=False),
        sa.Column("account_id", database.BigId, nullable=False),
        sa.Column("name", sa.String(80), nullable=False),
        sa.Column("idempotency_key", sa.String(255), nullable=False),
        sa.Column("created_at", database.UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_projects_account_id_accounts"),
        sa.PrimaryKeyConstraint("id", name="pk_projects"),
        sa.UniqueConstraint("public_id", name="uq_projects_public_id"),
        sa.UniqueConstraint("account_id", "idempotency_key", name="uq_projects_account_id_idempotency_key"),
    )


def downgrade():
    op.drop_table("projects")
    op.drop_table("usage_caps")
    op.drop_table("usage_periods")
    op.drop_table("usage_records")
    op.drop_table("usage_reports")
    op.drop_table("metered_items")
