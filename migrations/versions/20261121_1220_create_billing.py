"""Create the tables of billing."""

import sqlalchemy as sa
from alembic import op

import database

revision = "create_billing"
down_revision = "create_ledger"
branch_labels = None
depends_on = None


def upgrade():
    op.create_table(
        "cursors",
        sa.Column("name", sa.String(length=50), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("moved_at", database.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_cursors")),
    )
    op.create_table(
        "stripe_events",
        sa.Column("stripe_id", sa.String(length=255), nullable=False),
        sa.Column("type", sa.String(length=100), nullable=False),
        sa.Column("api_version", sa.String(length=40), nullable=True),
        sa.Column("livemode", sa.Boolean(), nullable=False),
        sa.Column("object_kind", sa.String(length=30), nullable=True),
        sa.Column("object_id", sa.String(length=255), nullable=True),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("source", sa.String(length=10), nullable=False),
        sa.Column("deliveries", sa.Integer(), server_default="1", nullable=False),
        sa.Column("created_at", database.UtcDateTime(), nullable=False),
        sa.Column("received_at", database.UtcDateTime(), nullable=False),
        sa.CheckConstraint("source IN ('webhook', 'poll', 'manual')", name=op.f("ck_stripe_events_source")),
        sa.PrimaryKeyConstraint("stripe_id", name=op.f("pk_stripe_events")),
    )
    op.create_index("ix_stripe_events_object", "stripe_events", ["object_kind", "object_id"], unique=False)
    op.create_index(op.f("ix_stripe_events_received_at"), "stripe_events", ["received_at"], unique=False)
    op.create_table(
        "stripe_objects",
        sa.Column("kind", sa.String(length=30), nullable=False),
        sa.Column("stripe_id", sa.String(length=255), nullable=False),
        sa.Column("stripe_customer_id", sa.String(length=255), nullable=True),
        sa.Column("applied_fence", sa.Integer(), server_default="0", nullable=False),
        sa.Column("fetched_at", database.UtcDateTime(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "stripe_id", name=op.f("pk_stripe_objects")),
    )
    op.create_index(
        op.f("ix_stripe_objects_stripe_customer_id"), "stripe_objects", ["stripe_customer_id"], unique=False
    )
    op.create_table(
        "sync_tasks",
        sa.Column("kind", sa.String(length=30), nullable=False),
        sa.Column("object_id", sa.String(length=255), nullable=False),
        sa.Column("dirty", sa.Integer(), server_default="0", nullable=False),
        sa.Column("clean", sa.Integer(), server_default="0", nullable=False),
        sa.Column("fence", sa.Integer(), server_default="0", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_at", database.UtcDateTime(), nullable=False),
        sa.Column("leased_until", database.UtcDateTime(), nullable=True),
        sa.Column("leased_by", sa.String(length=100), nullable=True),
        sa.Column("state", sa.String(length=4), server_default="live", nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("first_dirty_at", database.UtcDateTime(), nullable=True),
        sa.CheckConstraint("state IN ('live', 'dead')", name=op.f("ck_sync_tasks_state")),
        sa.CheckConstraint("clean <= dirty", name=op.f("ck_sync_tasks_clean_covers_dirty")),
        sa.PrimaryKeyConstraint("kind", "object_id", name=op.f("pk_sync_tasks")),
    )
    op.create_index(
        "ix_sync_tasks_due",
        "sync_tasks",
        ["next_at"],
        unique=False,
        sqlite_where=sa.text("clean < dirty AND state = 'live'"),
        postgresql_where=sa.text("clean < dirty AND state = 'live'"),
    )
    op.create_table(
        "checkout_intents",
        sa.Column("id", database.BigId, nullable=False),
        sa.Column("public_id", sa.String(length=32), nullable=False),
        sa.Column("account_id", database.BigId, nullable=False),
        sa.Column("mode", sa.String(length=20), nullable=False),
        sa.Column("price_key", sa.String(length=100), nullable=False),
        sa.Column("trial_days", sa.Integer(), server_default="0", nullable=False),
        sa.Column("status", sa.String(length=10), nullable=False),
        sa.Column("stripe_session_id", sa.String(length=255), nullable=True),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("created_at", database.UtcDateTime(), nullable=False),
        sa.Column("expires_at", database.UtcDateTime(), nullable=False),
        sa.CheckConstraint("mode IN ('payment', 'subscription')", name=op.f("ck_checkout_intents_mode")),
        sa.CheckConstraint(
            "status IN ('creating', 'open', 'complete', 'expired', 'failed')", name=op.f("ck_checkout_intents_status")
        ),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_checkout_intents_account_id_accounts")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_checkout_intents")),
        sa.UniqueConstraint("public_id", name=op.f("uq_checkout_intents_public_id")),
        sa.UniqueConstraint("stripe_session_id", name=op.f("uq_checkout_intents_stripe_session_id")),
    )
    op.create_index(op.f("ix_checkout_intents_account_id"), "checkout_intents", ["account_id"], unique=False)
    op.create_index(
        "uq_checkout_intents_open_subscription",
        "checkout_intents",
        ["account_id"],
        unique=True,
        sqlite_where=sa.text("mode = 'subscription' AND status IN ('creating', 'open')"),
        postgresql_where=sa.text("mode = 'subscription' AND status IN ('creating', 'open')"),
    )
    op.create_table(
        "payments",
        sa.Column("id", database.BigId, nullable=False),
        sa.Column("account_id", database.BigId, nullable=False),
        sa.Column("stripe_charge_id", sa.String(length=255), nullable=False),
        sa.Column("stripe_payment_intent_id", sa.String(length=255), nullable=True),
        sa.Column("stripe_invoice_id", sa.String(length=255), nullable=True),
        sa.Column("stripe_checkout_session_id", sa.String(length=255), nullable=True),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("description", sa.String(length=255), nullable=False),
        sa.Column("grant_source", sa.String(length=255), nullable=True),
        sa.Column("amount_cents", sa.Integer(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("refunded_cents", sa.Integer(), server_default="0", nullable=False),
        sa.Column("dispute_status", sa.String(length=40), nullable=True),
        sa.Column("paid_at", database.UtcDateTime(), nullable=False),
        sa.CheckConstraint("kind IN ('pack', 'subscription')", name=op.f("ck_payments_kind")),
        sa.CheckConstraint("amount_cents >= 0 AND refunded_cents >= 0", name=op.f("ck_payments_amounts")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_payments_account_id_accounts")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payments")),
        sa.UniqueConstraint("stripe_charge_id", name=op.f("uq_payments_stripe_charge_id")),
    )
    op.create_index(op.f("ix_payments_account_id"), "payments", ["account_id"], unique=False)
    op.create_index(
        op.f("ix_payments_stripe_checkout_session_id"), "payments", ["stripe_checkout_session_id"], unique=False
    )
    op.create_index(op.f("ix_payments_stripe_invoice_id"), "payments", ["stripe_invoice_id"], unique=False)
    op.create_index(
        op.f("ix_payments_stripe_payment_intent_id"), "payments", ["stripe_payment_intent_id"], unique=False
    )
    op.create_table(
        "plan_grants",
        sa.Column("id", database.BigId, nullable=False),
        sa.Column("account_id", database.BigId, nullable=False),
        sa.Column("plan_key", sa.String(length=100), nullable=False),
        sa.Column("stripe_subscription_id", sa.String(length=255), nullable=True),
        sa.Column("stripe_invoice_id", sa.String(length=255), nullable=True),
        sa.Column("source", sa.String(length=255), nullable=False),
        sa.Column("credits", sa.Integer(), nullable=False),
        sa.Column("starts_at", database.UtcDateTime(), nullable=False),
        sa.Column("ends_at", database.UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_plan_grants_account_id_accounts")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_plan_grants")),
        sa.UniqueConstraint("account_id", "source", name=op.f("uq_plan_grants_account_id_source")),
    )
    op.create_index("ix_plan_grants_account", "plan_grants", ["account_id", "ends_at"], unique=False)
    op.create_index("ix_plan_grants_subscription", "plan_grants", ["stripe_subscription_id", "ends_at"], unique=False)
    op.create_table(
        "subscriptions",
        sa.Column("stripe_id", sa.String(length=255), nullable=False),
        sa.Column("account_id", database.BigId, nullable=False),
        sa.Column("stripe_status", sa.String(length=30), nullable=False),
        sa.Column("price_key", sa.String(length=100), nullable=True),
        sa.Column("plan_key", sa.String(length=100), nullable=True),
        sa.Column("stripe_price_id", sa.String(length=255), nullable=False),
        sa.Column("amount_cents", sa.Integer(), nullable=True),
        sa.Column("currency", sa.String(length=3), nullable=True),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("period_starts_at", database.UtcDateTime(), nullable=True),
        sa.Column("period_ends_at", database.UtcDateTime(), nullable=True),
        sa.Column("trial_ends_at", database.UtcDateTime(), nullable=True),
        sa.Column("cancels_at", database.UtcDateTime(), nullable=True),
        sa.Column("ended_at", database.UtcDateTime(), nullable=True),
        sa.Column("past_due_since", database.UtcDateTime(), nullable=True),
        sa.Column("is_primary", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("started_at", database.UtcDateTime(), nullable=False),
        sa.Column("synced_at", database.UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_subscriptions_account_id_accounts")),
        sa.PrimaryKeyConstraint("stripe_id", name=op.f("pk_subscriptions")),
    )
    op.create_index(op.f("ix_subscriptions_account_id"), "subscriptions", ["account_id"], unique=False)
    op.create_index(
        "uq_subscriptions_primary",
        "subscriptions",
        ["account_id"],
        unique=True,
        sqlite_where=sa.text("is_primary"),
        postgresql_where=sa.text("is_primary"),
    )
    op.create_table(
        "trial_uses",
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("account_id", database.BigId, nullable=False),
        sa.Column("stripe_subscription_id", sa.String(length=255), nullable=False),
        sa.Column("used_at", database.UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_trial_uses_account_id_accounts")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_trial_uses")),
    )
    op.create_index(op.f("ix_trial_uses_account_id"), "trial_uses", ["account_id"], unique=False)


def downgrade():
    op.drop_index(op.f("ix_trial_uses_account_id"), table_name="trial_uses")
    op.drop_table("trial_uses")
    op.drop_index(
        "uq_subscriptions_primary",
        table_name="subscriptions",
        sqlite_where=sa.text("is_primary"),
        postgresql_where=sa.text("is_primary"),
    )
    op.drop_index(op.f("ix_subscriptions_account_id"), table_name="subscriptions")
    op.drop_table("subscriptions")
    op.drop_index("ix_plan_grants_subscription", table_name="plan_grants")
    op.drop_index("ix_plan_grants_account", table_name="plan_grants")
    op.drop_table("plan_grants")
    op.drop_index(op.f("ix_payments_stripe_payment_intent_id"), table_name="payments")
    op.drop_index(op.f("ix_payments_stripe_invoice_id"), table_name="payments")
    op.drop_index(op.f("ix_payments_stripe_checkout_session_id"), table_name="payments")
    op.drop_index(op.f("ix_payments_account_id"), table_name="payments")
    op.drop_table("payments")
    op.drop_index(
        "uq_checkout_intents_open_subscription",
        table_name="checkout_intents",
        sqlite_where=sa.text("mode = 'subscription' AND status IN ('creating', 'open')"),
        postgresql_where=sa.text("mode = 'subscription' AND status IN ('creating', 'open')"),
    )
    op.drop_index(op.f("ix_checkout_intents_account_id"), table_name="checkout_intents")
    op.drop_table("checkout_intents")
    op.drop_index(
        "ix_sync_tasks_due",
        table_name="sync_tasks",
        sqlite_where=sa.text("clean < dirty AND state = 'live'"),
        postgresql_where=sa.text("clean < dirty AND state = 'live'"),
    )
    op.drop_table("sync_tasks")
    op.drop_index(op.f("ix_stripe_objects_stripe_customer_id"), table_name="stripe_objects")
    op.drop_table("stripe_objects")
    op.drop_index(op.f("ix_stripe_events_received_at"), table_name="stripe_events")
    op.drop_index("ix_stripe_events_object", table_name="stripe_events")
    op.drop_table("stripe_events")
    op.drop_table("cursors")
