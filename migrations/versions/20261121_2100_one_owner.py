"""Let the database hold that an account has at most one owner, also while it is handed over."""

import sqlalchemy as sa
from alembic import op

revision = "one_owner"
down_revision = "create_usage_days"
branch_labels = None
depends_on = None

OWNERS = sa.text("role = 'owner'")


def upgrade():
    op.create_index(
        "ix_memberships_owner",
        "memberships",
        ["account_id"],
        unique=True,
        sqlite_where=OWNERS,
        postgresql_where=OWNERS,
    )


def downgrade():
    op.drop_index("ix_memberships_owner", "memberships")
