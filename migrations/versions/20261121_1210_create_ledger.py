"""Create the credit ledger: wallets, buckets, transactions, entries, holds."""

import sqlalchemy as sa
from alembic import op

import database

revision = "create_ledger"
down_revision = "create_accounts"
branch_labels = None
depends_on = None

APPEND_ONLY = ("ledger_transactions", "ledger_entries")


def upgrade():
    op.create_table(
        "wallets",
        sa.Column("account_id", database.BigId, autoincrement=False, nullable=False),
        sa.Column("balance", sa.BigInteger(), nullable=False),
        sa.Column("held", sa.BigInteger(), nullable=False),
        sa.Column("debt", sa.BigInteger(), nullable=False),
        sa.Column("frozen_reason", sa.Text(), nullable=True),
        sa.Column("next_expiry_at", database.UtcDateTime(timezone=True), nullable=True),
        sa.Column("opened_at", database.UtcDateTime(timezone=True), nullable=False),
        sa.CheckConstraint("balance >= 0", name=op.f("ck_wallets_balance")),
        sa.CheckConstraint("held >= 0", name=op.f("ck_wallets_held")),
        sa.CheckConstraint("debt >= 0", name=op.f("ck_wallets_debt")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_wallets_account_id_accounts")),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_wallets")),
    )
    op.create_index(op.f("ix_wallets_next_expiry_at"), "wallets", ["next_expiry_at"])

    op.create_table(
        "wallet_freezes",
        sa.Column("account_id", database.BigId, nullable=False),
        sa.Column("cause", sa.String(200), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("frozen_at", database.UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["wallets.account_id"], name=op.f("fk_wallet_freezes_account_id_wallets")
        ),
        sa.PrimaryKeyConstraint("account_id", "cause", name=op.f("pk_wallet_freezes")),
    )

    op.create_table(
        "buckets",
        sa.Column("id", database.BigId, nullable=False),
        sa.Column("account_id", database.BigId, nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("source", sa.String(240), nullable=False),
        sa.Column("payment_ref", sa.String(200), nullable=True),
        sa.Column("granted", sa.BigInteger(), nullable=False),
        sa.Column("remaining", sa.BigInteger(), nullable=False),
        sa.Column("expired", sa.BigInteger(), nullable=False),
        sa.Column("clawed", sa.BigInteger(), nullable=False),
        sa.Column("clawed_spent", sa.BigInteger(), nullable=False),
        sa.Column("clawed_expired", sa.BigInteger(), nullable=False),
        sa.Column("claw_version", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", database.UtcDateTime(timezone=True), nullable=True),
        sa.Column("granted_at", database.UtcDateTime(timezone=True), nullable=False),
        sa.Column("is_open", sa.Boolean(), sa.Computed("remaining > 0", persisted=True), nullable=False),
        sa.CheckConstraint("kind IN ('trial', 'promo', 'plan', 'purchase', 'adjust')", name=op.f("ck_buckets_kind")),
        sa.CheckConstraint("granted > 0", name=op.f("ck_buckets_granted")),
        sa.CheckConstraint("remaining >= 0 AND remaining <= granted", name=op.f("ck_buckets_remaining")),
        sa.CheckConstraint("expired >= 0", name=op.f("ck_buckets_expired")),
        sa.CheckConstraint("clawed >= 0 AND clawed <= granted", name=op.f("ck_buckets_clawed")),
        sa.CheckConstraint(
            "clawed_spent >= 0 AND clawed_expired >= 0 AND clawed_spent + clawed_expired <= clawed",
            name=op.f("ck_buckets_clawed_parts"),
        ),
        sa.ForeignKeyConstraint(["account_id"], ["wallets.account_id"], name=op.f("fk_buckets_account_id_wallets")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_buckets")),
        sa.UniqueConstraint("account_id", "source", name=op.f("uq_buckets_account_id_source")),
    )
    op.create_index(op.f("ix_buckets_payment_ref"), "buckets", ["payment_ref"])
    op.create_index(
        "ix_buckets_open",
        "buckets",
        ["account_id"],
        sqlite_where=sa.text("is_open = 1"),
        postgresql_where=sa.text("is_open"),
    )

    op.create_table(
        "ledger_transactions",
        sa.Column("id", database.BigId, nullable=False),
        sa.Column("account_id", database.BigId, nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("idempotency_key", sa.String(240), nullable=True),
        sa.Column("request_hash", sa.String(64), nullable=True),
        sa.Column("credits", sa.BigInteger(), nullable=False),
        sa.Column("debt", sa.BigInteger(), nullable=False),
        sa.Column("used", sa.BigInteger(), nullable=False),
        sa.Column("balance_after", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=True),
        sa.Column("at", database.UtcDateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "kind IN ('grant', 'spend', 'hold', 'capture', 'release', 'claw', 'restore', 'expire', 'adjust', "
            "'forgive', 'freeze', 'unfreeze')",
            name=op.f("ck_ledger_transactions_kind"),
        ),
        sa.ForeignKeyConstraint(
            ["account_id"], ["wallets.account_id"], name=op.f("fk_ledger_transactions_account_id_wallets")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger_transactions")),
        sa.UniqueConstraint(
            "account_id", "idempotency_key", name=op.f("uq_ledger_transactions_account_id_idempotency_key")
        ),
    )
    op.create_index(op.f("ix_ledger_transactions_account_id_id"), "ledger_transactions", ["account_id", "id"])

    op.create_table(
        "ledger_entries",
        sa.Column("transaction_id", database.BigId, autoincrement=False, nullable=False),
        sa.Column("line", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("book", sa.String(20), nullable=False),
        sa.Column("bucket_id", database.BigId, nullable=True),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "book IN ('issued', 'available', 'held', 'consumed', 'expired', 'refunded', 'debt', 'forgiven', "
            "'removed')",
            name=op.f("ck_ledger_entries_book"),
        ),
        sa.CheckConstraint("amount <> 0", name=op.f("ck_ledger_entries_amount")),
        sa.ForeignKeyConstraint(
            ["transaction_id"],
            ["ledger_transactions.id"],
            name=op.f("fk_ledger_entries_transaction_id_ledger_transactions"),
        ),
        sa.ForeignKeyConstraint(["bucket_id"], ["buckets.id"], name=op.f("fk_ledger_entries_bucket_id_buckets")),
        sa.PrimaryKeyConstraint("transaction_id", "line", name=op.f("pk_ledger_entries")),
        sqlite_with_rowid=False,
    )

    op.create_table(
        "holds",
        sa.Column("id", database.BigId, autoincrement=False, nullable=False),
        sa.Column("account_id", database.BigId, nullable=False),
        sa.Column("credits", sa.BigInteger(), nullable=False),
        sa.Column("captured", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=True),
        sa.Column("expires_at", database.UtcDateTime(timezone=True), nullable=False),
        sa.Column("settled_at", database.UtcDateTime(timezone=True), nullable=True),
        sa.CheckConstraint("status IN ('open', 'captured', 'released', 'expired')", name=op.f("ck_holds_status")),
        sa.CheckConstraint("credits > 0", name=op.f("ck_holds_credits")),
        sa.CheckConstraint("captured >= 0 AND captured <= credits", name=op.f("ck_holds_captured")),
        sa.ForeignKeyConstraint(["id"], ["ledger_transactions.id"], name=op.f("fk_holds_id_ledger_transactions")),
        sa.ForeignKeyConstraint(["account_id"], ["wallets.account_id"], name=op.f("fk_holds_account_id_wallets")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_holds")),
    )
    op.create_index(
        "ix_holds_due",
        "holds",
        ["expires_at"],
        sqlite_where=sa.text("status = 'open'"),
        postgresql_where=sa.text("status = 'open'"),
    )

    op.create_table(
        "hold_lines",
        sa.Column("hold_id", database.BigId, autoincrement=False, nullable=False),
        sa.Column("line", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("bucket_id", database.BigId, nullable=False),
        sa.Column("credits", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("credits > 0", name=op.f("ck_hold_lines_credits")),
        sa.ForeignKeyConstraint(["hold_id"], ["holds.id"], name=op.f("fk_hold_lines_hold_id_holds")),
        sa.ForeignKeyConstraint(["bucket_id"], ["buckets.id"], name=op.f("fk_hold_lines_bucket_id_buckets")),
        sa.PrimaryKeyConstraint("hold_id", "line", name=op.f("pk_hold_lines")),
    )
    op.create_index(op.f("ix_hold_lines_bucket_id"), "hold_lines", ["bucket_id"])
    _make_append_only(op.get_bind().dialect.name)


def _make_append_only(dialect):
    if dialect == "sqlite":
        for table in APPEND_ONLY:
            for verb in ("update", "delete"):
                op.execute(
                    f"CREATE TRIGGER {table}_never_{verb} BEFORE {verb} ON {table} "
                    f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
                )
        return
    op.execute(
        "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION USING MESSAGE = TG_TABLE_NAME || ' is append-only'; END $$"
    )
    for table in APPEND_ONLY:
        for verb in ("update", "delete"):
            op.execute(
                f"CREATE TRIGGER {table}_never_{verb} BEFORE {verb} ON {table} "
                "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
            )


def downgrade():
    for table in (
        "hold_lines",
        "holds",
        "ledger_entries",
        "ledger_transactions",
        "buckets",
        "wallet_freezes",
        "wallets",
    ):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION refuse_change()")
