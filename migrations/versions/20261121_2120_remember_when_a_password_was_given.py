"""Let a session remember when its password was given again, so that dangerous actions can ask for it."""

import sqlalchemy as sa
from alembic import op

import database

revision = "remember_password_given"
down_revision = "note_paid_until"
branch_labels = None
depends_on = None


def upgrade():
    op.add_column("user_sessions", sa.Column("confirmed_at", database.UtcDateTime(), nullable=True))


def downgrade():
    op.drop_column("user_sessions", "confirmed_at")
