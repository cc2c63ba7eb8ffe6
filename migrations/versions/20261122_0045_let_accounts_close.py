"""Let accounts close, and remember by a hash which mailboxes were once whose."""

import sqlalchemy as sa
from alembic import op

import database

revision = "let_accounts_close"
down_revision = "create_email_changes"
branch_labels = None
depends_on = None


def upgrade():
    op.add_column("accounts", sa.Column("closed_at", database.UtcDateTime(), nullable=True))
    op.create_table(
        "former_mailboxes",
        sa.Column("mailbox_hash", sa.String(64), nullable=False),
        sa.Column("account_id", database.BigId, nullable=False),
        sa.Column("left_at", database.UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_former_mailboxes_account_id_accounts"),
        sa.PrimaryKeyConstraint("mailbox_hash", "account_id", name="pk_former_mailboxes"),
    )


def downgrade():
    op.drop_table("former_mailboxes")
    op.drop_column("accounts", "closed_at")
