"""Create price moves: who is moved from an old amount to a plan's present one, and how far that has come."""

import sqlalchemy as sa
from alembic import op

import database

revision = "create_price_moves"
down_revision = "create_api_keys"
branch_labels = None
depends_on = None


def upgrade():
    op.create_table(
        "price_moves",
        sa.Column("id", database.BigId, nullable=False),
        sa.Column("account_id", database.BigId, nullable=False),
        sa.Column("stripe_subscription_id", sa.String(255), nullable=False),
        sa.Column("price_key", sa.String(100), nullable=False),
        sa.Column("from_stripe_price_id", sa.String(255), nullable=False),
        sa.Column("to_stripe_price_id", sa.String(255), nullable=False),
        sa.Column("from_cents", sa.Integer(), nullable=False),
        sa.Column("to_cents", sa.Integer(), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("takes_effect_at", database.UtcDateTime(), nullable=False),
        sa.Column("is_at_once", sa.Boolean(), nullable=False),
        sa.Column("attempt", sa.Integer(), server_default="1", nullable=False),
        sa.Column("announced_at", database.UtcDateTime(), nullable=False),
        sa.Column("made_at", database.UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_price_moves_account_id_accounts"),
        sa.PrimaryKeyConstraint("id", name="pk_price_moves"),
        sa.UniqueConstraint(
            "stripe_subscription_id",
            "to_stripe_price_id",
            "takes_effect_at",
            name="uq_price_moves_once",
        ),
    )
    op.create_index("ix_price_moves_account_id", "price_moves", ["account_id"])


def downgrade():
    op.drop_table("price_moves")
