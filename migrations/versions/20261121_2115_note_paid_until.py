"""Note until when a plan's grant was paid for: the months of one year have the same end."""

import sqlalchemy as sa
from alembic import op

import database

revision = "note_paid_until"
down_revision = "create_login_tries"
branch_labels = None
depends_on = None


def upgrade():
    with op.batch_alter_table("plan_grants") as table:
        table.add_column(sa.Column("paid_until", database.UtcDateTime(), nullable=True))


def downgrade():
    with op.batch_alter_table("plan_grants") as table:
        table.drop_column("paid_until")
