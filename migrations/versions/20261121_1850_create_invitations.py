"""Create invitations: who was asked into an account, by whom, and what became of it."""

import sqlalchemy as sa
from alembic import op

import database

revision = "create_invitations"
down_revision = "create_support"
branch_labels = None
depends_on = None

OPEN = sa.text("accepted_at IS NULL AND withdrawn_at IS NULL")


def upgrade():
    op.create_table(
        "invitations",
        sa.Column("id", database.BigId, nullable=False),
        sa.Column("public_id", sa.String(32), nullable=False),
        sa.Column("account_id", database.BigId, nullable=False),
        sa.Column("email", sa.String(254), nullable=False),
        sa.Column("email_key", sa.String(640), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("token_seed", sa.String(32), nullable=False),
        sa.Column("token_hash", sa.String(64), nullable=False),
        sa.Column("invited_by", database.BigId, nullable=False),
        sa.Column("created_at", database.UtcDateTime(), nullable=False),
        sa.Column("expires_at", database.UtcDateTime(), nullable=False),
        sa.Column("accepted_at", database.UtcDateTime(), nullable=True),
        sa.Column("accepted_by", database.BigId, nullable=True),
        sa.Column("withdrawn_at", database.UtcDateTime(), nullable=True),
        sa.CheckConstraint("role IN ('admin', 'member')", name="ck_invitations_role"),
        sa.CheckConstraint("accepted_at IS NULL OR withdrawn_at IS NULL", name="ck_invitations_one_end"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_invitations_account_id_accounts"),
        sa.ForeignKeyConstraint(["invited_by"], ["users.id"], name="fk_invitations_invited_by_users"),
        sa.ForeignKeyConstraint(["accepted_by"], ["users.id"], name="fk_invitations_accepted_by_users"),
        sa.PrimaryKeyConstraint("id", name="pk_invitations"),
        sa.UniqueConstraint("public_id", name="uq_invitations_public_id"),
        sa.UniqueConstraint("token_hash", name="uq_invitations_token_hash"),
    )
    op.create_index("ix_invitations_email_key", "invitations", ["email_key"])
    op.create_index(
        "ix_invitations_open",
        "invitations",
        ["account_id", "email_key"],
        unique=True,
        sqlite_where=OPEN,
        postgresql_where=OPEN,
    )


def downgrade():
    op.drop_table("invitations")
