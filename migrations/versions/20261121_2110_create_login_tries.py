"""Create log-in tries: how often a password was guessed for somebody, from wherever, and until when to wait."""

import sqlalchemy as sa
from alembic import op

import database

revision = "create_login_tries"
down_revision = "one_owner"
branch_labels = None
depends_on = None


def upgrade():
    op.create_table(
        "login_tries",
        sa.Column("subject", sa.String(64), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("last_at", database.UtcDateTime(), nullable=False),
        sa.Column("opens_at", database.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("subject", name="pk_login_tries"),
    )
    op.create_index("ix_login_tries_last_at", "login_tries", ["last_at"])


def downgrade():
    op.drop_table("login_tries")
