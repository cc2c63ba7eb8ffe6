"""Create the tables of top-ups, credit codes and payment links."""

import sqlalchemy as sa
from alembic import op

import database

revision = "create_purchases"
down_revision = "create_reports"
branch_labels = None
depends_on = None


def upgrade():
    op.create_table(
        "credit_codes",
        sa.Column("code", sa.String(length=40), nullable=False),
        sa.Column("credits", sa.Integer(), nullable=False),
        sa.Column("max_uses", sa.Integer(), nullable=False),
        sa.Column("uses", sa.Integer(), server_default="0", nullable=False),
        sa.Column("expires_at", database.UtcDateTime(), nullable=True),
        sa.Column("note", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", database.UtcDateTime(), nullable=False),
        sa.CheckConstraint("credits > 0", name=op.f("ck_credit_codes_credits")),
        sa.CheckConstraint("uses >= 0 AND uses <= max_uses", name=op.f("ck_credit_codes_uses")),
        sa.PrimaryKeyConstraint("code", name=op.f("pk_credit_codes")),
    )
    op.create_table(
        "auto_top_ups",
        sa.Column("account_id", database.BigId, autoincrement=False, nullable=False),
        sa.Column("is_on", sa.Boolean(), nullable=False),
        sa.Column("price_key", sa.String(length=100), nullable=False),
        sa.Column("amount_cents", sa.Integer(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("threshold_credits", sa.Integer(), nullable=False),
        sa.Column("monthly_cap_cents", sa.Integer(), nullable=False),
        sa.Column("consent", sa.Text(), nullable=False),
        sa.Column("agreed_at", database.UtcDateTime(), nullable=False),
        sa.Column("agreed_by", database.BigId, nullable=False),
        sa.Column("declines", sa.Integer(), server_default="0", nullable=False),
        sa.Column("wanted_at", database.UtcDateTime(), nullable=True),
        sa.Column("not_before", database.UtcDateTime(), nullable=True),
        sa.Column("stopped_at", database.UtcDateTime(), nullable=True),
        sa.Column("stop_reason", sa.String(length=20), nullable=True),
        sa.CheckConstraint("declines >= 0", name=op.f("ck_auto_top_ups_declines")),
        sa.CheckConstraint(
            "threshold_credits > 0 AND amount_cents > 0 AND monthly_cap_cents > 0", name=op.f("ck_auto_top_ups_amounts")
        ),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_auto_top_ups_account_id_accounts")),
        sa.ForeignKeyConstraint(["agreed_by"], ["users.id"], name=op.f("fk_auto_top_ups_agreed_by_users")),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_auto_top_ups")),
    )
    op.create_index(
        "ix_auto_top_ups_wanted",
        "auto_top_ups",
        ["wanted_at"],
        unique=False,
        sqlite_where=sa.text("is_on AND wanted_at IS NOT NULL"),
        postgresql_where=sa.text("is_on AND wanted_at IS NOT NULL"),
    )
    op.create_table(
        "credit_code_uses",
        sa.Column("code", sa.String(length=40), nullable=False),
        sa.Column("account_id", database.BigId, autoincrement=False, nullable=False),
        sa.Column("used_at", database.UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_credit_code_uses_account_id_accounts")),
        sa.ForeignKeyConstraint(["code"], ["credit_codes.code"], name=op.f("fk_credit_code_uses_code_credit_codes")),
        sa.PrimaryKeyConstraint("code", "account_id", name=op.f("pk_credit_code_uses")),
    )
    op.create_table(
        "link_purchases",
        sa.Column("stripe_checkout_session_id", sa.String(length=255), nullable=False),
        sa.Column("email_key", sa.String(length=640), nullable=False),
        sa.Column("account_id", database.BigId, nullable=True),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("stripe_charge_id", sa.String(length=255), nullable=True),
        sa.Column("paid_at", database.UtcDateTime(), nullable=False),
        sa.Column("claimed_at", database.UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_link_purchases_account_id_accounts")),
        sa.PrimaryKeyConstraint("stripe_checkout_session_id", name=op.f("pk_link_purchases")),
        sa.UniqueConstraint("stripe_charge_id", name=op.f("uq_link_purchases_stripe_charge_id")),
    )
    op.create_index(op.f("ix_link_purchases_account_id"), "link_purchases", ["account_id"], unique=False)
    op.create_index("ix_link_purchases_waiting", "link_purchases", ["email_key", "account_id"], unique=False)
    op.create_table(
        "saved_cards",
        sa.Column("account_id", database.BigId, autoincrement=False, nullable=False),
        sa.Column("stripe_payment_method_id", sa.String(length=255), nullable=False),
        sa.Column("brand", sa.String(length=40), nullable=False),
        sa.Column("last4", sa.String(length=4), nullable=False),
        sa.Column("exp_month", sa.Integer(), nullable=False),
        sa.Column("exp_year", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_saved_cards_account_id_accounts")),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_saved_cards")),
    )
    op.create_table(
        "top_ups",
        sa.Column("id", database.BigId, nullable=False),
        sa.Column("public_id", sa.String(length=32), nullable=False),
        sa.Column("account_id", database.BigId, nullable=False),
        sa.Column("kind", sa.String(length=5), nullable=False),
        sa.Column("form_key", sa.String(length=255), nullable=True),
        sa.Column("price_key", sa.String(length=100), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("credits", sa.Integer(), nullable=False),
        sa.Column("amount_cents", sa.Integer(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("stripe_payment_method_id", sa.String(length=255), nullable=False),
        sa.Column("card", sa.String(length=80), nullable=False),
        sa.Column("status", sa.String(length=10), nullable=False),
        sa.Column("stripe_payment_intent_id", sa.String(length=255), nullable=True),
        sa.Column("refusal", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_at", database.UtcDateTime(), nullable=False),
        sa.Column("created_at", database.UtcDateTime(), nullable=False),
        sa.Column("settled_at", database.UtcDateTime(), nullable=True),
        sa.CheckConstraint("kind IN ('click', 'auto')", name=op.f("ck_top_ups_kind")),
        sa.CheckConstraint(
            "status IN ('asking', 'paid', 'declined', 'challenged', 'failed')", name=op.f("ck_top_ups_status")
        ),
        sa.CheckConstraint("credits > 0 AND amount_cents > 0", name=op.f("ck_top_ups_amounts")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_top_ups_account_id_accounts")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_top_ups")),
        sa.UniqueConstraint("account_id", "form_key", name=op.f("uq_top_ups_account_id_form_key")),
        sa.UniqueConstraint("public_id", name=op.f("uq_top_ups_public_id")),
        sa.UniqueConstraint("stripe_payment_intent_id", name=op.f("uq_top_ups_stripe_payment_intent_id")),
    )
    op.create_index(
        "ix_top_ups_asking",
        "top_ups",
        ["next_at"],
        unique=False,
        sqlite_where=sa.text("status = 'asking'"),
        postgresql_where=sa.text("status = 'asking'"),
    )
    op.create_index(
        "uq_top_ups_asking_auto",
        "top_ups",
        ["account_id"],
        unique=True,
        sqlite_where=sa.text("kind = 'auto' AND status = 'asking'"),
        postgresql_where=sa.text("kind = 'auto' AND status = 'asking'"),
    )
    with op.batch_alter_table("checkout_intents") as batch:
        batch.add_column(sa.Column("ui", sa.String(length=10), server_default="hosted", nullable=False))


def downgrade():
    with op.batch_alter_table("checkout_intents") as batch:
        batch.drop_column("ui")
    op.drop_index(
        "uq_top_ups_asking_auto",
        table_name="top_ups",
        sqlite_where=sa.text("kind = 'auto' AND status = 'asking'"),
        postgresql_where=sa.text("kind = 'auto' AND status = 'asking'"),
    )
    op.drop_index(
        "ix_top_ups_asking",
        table_name="top_ups",
        sqlite_where=sa.text("status = 'asking'"),
        postgresql_where=sa.text("status = 'asking'"),
    )
    op.drop_table("top_ups")
    op.drop_table("saved_cards")
    op.drop_index("ix_link_purchases_waiting", table_name="link_purchases")
    op.drop_index(op.f("ix_link_purchases_account_id"), table_name="link_purchases")
    op.drop_table("link_purchases")
    op.drop_table("credit_code_uses")
    op.drop_index(
        "ix_auto_top_ups_wanted",
        table_name="auto_top_ups",
        sqlite_where=sa.text("is_on AND wanted_at IS NOT NULL"),
        postgresql_where=sa.text("is_on AND wanted_at IS NOT NULL"),
    )
    op.drop_table("auto_top_ups")
    op.drop_table("credit_codes")
