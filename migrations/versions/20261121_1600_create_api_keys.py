"""Keep the keys by which programs sign in for an account; of a secret only its hash."""

import sqlalchemy as sa
from alembic import op

import database

revision = "create_api_keys"
down_revision = "create_usage"
branch_labels = None
depends_on = None


def upgrade():
    op.create_table(
        "api_keys",
        sa.Column("id", database.BigId, nullable=False),
        sa.Column("public_id", sa.String(32), nullable=False),
        sa.Column("account_id", database.BigId, nullable=False),
        sa.Column("created_by", database.BigId, nullable=False),
        sa.Column("name", sa.String(60), nullable=False),
        sa.Column("prefix", sa.String(20), nullable=False),
        sa.Column("secret_hash", sa.String(64), nullable=False),
        sa.Column("idempotency_key", sa.String(255), nullable=False),
        sa.Column("created_at", database.UtcDateTime(), nullable=False),
        sa.Column("last_used_at", database.UtcDateTime(), nullable=True),
        sa.Column("revoked_at", database.UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_api_keys_account_id_accounts"),
        sa.ForeignKeyConstraint(["created_by"], ["users.id"], name="fk_api_keys_created_by_users"),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.UniqueConstraint("public_id", name="uq_api_keys_public_id"),
        sa.UniqueConstraint("secret_hash", name="uq_api_keys_secret_hash"),
        sa.UniqueConstraint("account_id", "idempotency_key", name="uq_api_keys_account_id_idempotency_key"),
    )
    op.create_index("ix_api_keys_created_by", "api_keys", ["created_by"])


def downgrade():
    op.drop_table("api_keys")
