"""Remember customers that were deleted at Stripe, and what else than charges paid an invoice and went back of it."""

import sqlalchemy as sa
from alembic import op

import database

revision = "know_former_customers"
down_revision = "remember_password_given"
branch_labels = None
depends_on = None


def upgrade():
    op.create_table(
        "former_customers",
        sa.Column("stripe_customer_id", sa.String(length=255), nullable=False),
        sa.Column("account_id", database.BigId, nullable=False),
        sa.Column("replaced_at", database.UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_former_customers_account_id_accounts")),
        sa.PrimaryKeyConstraint("stripe_customer_id", name=op.f("pk_former_customers")),
    )
    op.create_index(op.f("ix_former_customers_account_id"), "former_customers", ["account_id"])
    with op.batch_alter_table("invoices") as table:
        table.add_column(sa.Column("settled_cents", sa.Integer(), nullable=True))
        table.add_column(sa.Column("credited_cents", sa.Integer(), server_default="0", nullable=False))


def downgrade():
    with op.batch_alter_table("invoices") as table:
        table.drop_column("credited_cents")
        table.drop_column("settled_cents")
    op.drop_index(op.f("ix_former_customers_account_id"), table_name="former_customers")
    op.drop_table("former_customers")
