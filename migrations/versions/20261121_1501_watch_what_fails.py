"""Remember since when an object meets passing errors, and how far the nightly comparison has come."""

import sqlalchemy as sa
from alembic import op

import database

revision = "watch_what_fails"
down_revision = "create_purchases"
branch_labels = None
depends_on = None


def upgrade():
    op.add_column("sync_tasks", sa.Column("failing_since", database.UtcDateTime(), nullable=True))
    op.add_column("stripe_objects", sa.Column("compared_at", database.UtcDateTime(), nullable=True))
    op.add_column("cursors", sa.Column("last_id", sa.String(255), nullable=True))
    op.create_index("ix_stripe_objects_kind_fetched_at", "stripe_objects", ["kind", "fetched_at"])
    is_dead = sa.text("state = 'dead'")
    op.create_index(
        "ix_sync_tasks_dead", "sync_tasks", ["first_dirty_at"], sqlite_where=is_dead, postgresql_where=is_dead
    )


def downgrade():
    op.drop_index("ix_sync_tasks_dead", "sync_tasks")
    op.drop_index("ix_stripe_objects_kind_fetched_at", "stripe_objects")
    with op.batch_alter_table("cursors") as table:
        table.drop_column("last_id")
    with op.batch_alter_table("stripe_objects") as table:
        table.drop_column("compared_at")
    with op.batch_alter_table("sync_tasks") as table:
        table.drop_column("failing_since")
