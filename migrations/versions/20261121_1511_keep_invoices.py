"""Keep invoices, the card that is charged, what billing has to say on every page, and where a buyer wanted to go."""

import sqlalchemy as sa
from alembic import op

import database

revision = "keep_invoices"
down_revision = "create_back_office"
branch_labels = None
depends_on = None


def upgrade():
    op.create_table(
        "invoices",
        sa.Column("stripe_id", sa.String(255), nullable=False),
        sa.Column("account_id", database.BigId, nullable=False),
        sa.Column("stripe_subscription_id", sa.String(255), nullable=True),
        sa.Column("number", sa.String(255), nullable=True),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("reason", sa.String(50), nullable=False),
        sa.Column("description", sa.String(255), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("subtotal_cents", sa.Integer(), nullable=False),
        sa.Column("tax_cents", sa.Integer(), nullable=False),
        sa.Column("total_cents", sa.Integer(), nullable=False),
        sa.Column("paid_cents", sa.Integer(), nullable=False),
        sa.Column("remaining_cents", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", database.UtcDateTime(), nullable=True),
        sa.Column("refused_method_id", sa.String(255), nullable=True),
        sa.Column("wants_customer", sa.Boolean(), nullable=False),
        sa.Column("hosted_url", sa.Text(), nullable=True),
        sa.Column("pdf_url", sa.Text(), nullable=True),
        sa.Column("issued_at", database.UtcDateTime(), nullable=False),
        sa.Column("paid_at", database.UtcDateTime(), nullable=True),
        sa.Column("synced_at", database.UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_invoices_account_id_accounts"),
        sa.PrimaryKeyConstraint("stripe_id", name="pk_invoices"),
    )
    op.create_index("ix_invoices_account_issued", "invoices", ["account_id", "issued_at"])
    op.create_index("ix_invoices_subscription", "invoices", ["stripe_subscription_id", "status"])
    op.add_column("accounts", sa.Column("billing_notice", sa.Text(), nullable=True))
    op.add_column("checkout_intents", sa.Column("next_path", sa.Text(), nullable=True))
    op.add_column("subscriptions", sa.Column("open_until", database.UtcDateTime(), nullable=True))
    op.add_column("subscriptions", sa.Column("payment_method_id", sa.String(255), nullable=True))
    op.add_column("subscriptions", sa.Column("card_brand", sa.String(40), nullable=True))
    op.add_column("subscriptions", sa.Column("card_last4", sa.String(4), nullable=True))
    op.add_column("subscriptions", sa.Column("card_expires_on", sa.Date(), nullable=True))
    # Subscriptions and invoices that are known already are fetched again, which fills the new columns and rows.
    op.execute(
        "UPDATE sync_tasks SET dirty = dirty + 1, state = 'live', attempts = 0 WHERE kind IN ('subscription', 'invoice')"
    )


def downgrade():
    for column in ("card_expires_on", "card_last4", "card_brand", "payment_method_id", "open_until"):
        op.drop_column("subscriptions", column)
    op.drop_column("checkout_intents", "next_path")
    op.drop_column("accounts", "billing_notice")
    op.drop_table("invoices")
