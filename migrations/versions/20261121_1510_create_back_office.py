"""Create the tables of the back office: the audit log, refunds, disputes, warnings of fraud."""

import sqlalchemy as sa
from alembic import op

import database

revision = "create_back_office"
down_revision = "watch_what_fails"
branch_labels = None
depends_on = None


def upgrade():
    op.create_table('audit_log',
    sa.Column('id', database.BigId, nullable=False),
    sa.Column('at', database.UtcDateTime(), nullable=False),
    sa.Column('actor', sa.String(length=254), nullable=False),
    sa.Column('action', sa.String(length=60), nullable=False),
    sa.Column('account_id', database.BigId, nullable=True),
    sa.Column('object_kind', sa.String(length=30), nullable=False),
    sa.Column('object_id', sa.String(length=255), nullable=False),
    sa.Column('before', sa.Text(), nullable=False),
    sa.Column('after', sa.Text(), nullable=False),
    sa.Column('reason', sa.Text(), nullable=False),
    sa.Column('idempotency_key', sa.String(length=255), nullable=False),
    sa.ForeignKeyConstraint(['account_id'], ['accounts.id'], name=op.f('fk_audit_log_account_id_accounts')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_audit_log')),
    sa.UniqueConstraint('idempotency_key', name=op.f('uq_audit_log_idempotency_key'))
    )
    op.create_index(op.f('ix_audit_log_account_id_id'), 'audit_log', ['account_id', 'id'], unique=False)
    op.create_index(op.f('ix_audit_log_object_kind_object_id'), 'audit_log', ['object_kind', 'object_id'], unique=False)

    op.create_table('disputes',
    sa.Column('stripe_id', sa.String(length=255), nullable=False),
    sa.Column('account_id', database.BigId, nullable=False),
    sa.Column('stripe_charge_id', sa.String(length=255), nullable=False),
    sa.Column('stripe_status', sa.String(length=40), nullable=False),
    sa.Column('reason', sa.String(length=60), nullable=False),
    sa.Column('amount_cents', sa.Integer(), nullable=False),
    sa.Column('currency', sa.String(length=3), nullable=False),
    sa.Column('due_at', database.UtcDateTime(), nullable=True),
    sa.Column('submissions', sa.Integer(), nullable=False),
    sa.Column('evidence', sa.Text(), nullable=False),
    sa.Column('created_at', database.UtcDateTime(), nullable=False),
    sa.Column('closed_at', database.UtcDateTime(), nullable=True),
    sa.ForeignKeyConstraint(['account_id'], ['accounts.id'], name=op.f('fk_disputes_account_id_accounts')),
    sa.PrimaryKeyConstraint('stripe_id', name=op.f('pk_disputes'))
    )
    op.create_index(op.f('ix_disputes_account_id'), 'disputes', ['account_id'], unique=False)
    op.create_index(op.f('ix_disputes_stripe_charge_id'), 'disputes', ['stripe_charge_id'], unique=False)
    op.create_index(op.f('ix_disputes_stripe_status'), 'disputes', ['stripe_status'], unique=False)

    op.create_table('fraud_warnings',
    sa.Column('stripe_id', sa.String(length=255), nullable=False),
    sa.Column('account_id', database.BigId, nullable=False),
    sa.Column('stripe_charge_id', sa.String(length=255), nullable=False),
    sa.Column('fraud_type', sa.String(length=60), nullable=False),
    sa.Column('is_actionable', sa.Boolean(), nullable=False),
    sa.Column('created_at', database.UtcDateTime(), nullable=False),
    sa.ForeignKeyConstraint(['account_id'], ['accounts.id'], name=op.f('fk_fraud_warnings_account_id_accounts')),
    sa.PrimaryKeyConstraint('stripe_id', name=op.f('pk_fraud_warnings'))
    )
    op.create_index(op.f('ix_fraud_warnings_account_id'), 'fraud_warnings', ['account_id'], unique=False)
    op.create_index(op.f('ix_fraud_warnings_stripe_charge_id'), 'fraud_warnings', ['stripe_charge_id'], unique=False)

    op.create_table('freeze_waivers',
    sa.Column('account_id', database.BigId, nullable=False),
    sa.Column('cause', sa.String(length=200), nullable=False),
    sa.Column('actor', sa.String(length=254), nullable=False),
    sa.Column('reason', sa.Text(), nullable=False),
    sa.Column('waived_at', database.UtcDateTime(), nullable=False),
    sa.ForeignKeyConstraint(['account_id'], ['accounts.id'], name=op.f('fk_freeze_waivers_account_id_accounts')),
    sa.PrimaryKeyConstraint('account_id', 'cause', name=op.f('pk_freeze_waivers'))
    )
    op.create_table('refund_intents',
    sa.Column('id', database.BigId, nullable=False),
    sa.Column('public_id', sa.String(length=32), nullable=False),
    sa.Column('idempotency_key', sa.String(length=255), nullable=False),
    sa.Column('account_id', database.BigId, nullable=False),
    sa.Column('stripe_charge_id', sa.String(length=255), nullable=False),
    sa.Column('stripe_invoice_id', sa.String(length=255), nullable=True),
    sa.Column('method', sa.String(length=20), nullable=False),
    sa.Column('amount_cents', sa.Integer(), nullable=False),
    sa.Column('currency', sa.String(length=3), nullable=False),
    sa.Column('reason', sa.String(length=60), nullable=False),
    sa.Column('note', sa.Text(), nullable=False),
    sa.Column('actor', sa.String(length=254), nullable=False),
    sa.Column('status', sa.String(length=10), nullable=False),
    sa.Column('attempts', sa.Integer(), server_default='0', nullable=False),
    sa.Column('next_at', database.UtcDateTime(), nullable=False),
    sa.Column('stripe_id', sa.String(length=255), nullable=True),
    sa.Column('last_error', sa.Text(), nullable=True),
    sa.Column('created_at', database.UtcDateTime(), nullable=False),
    sa.CheckConstraint("method IN ('refund', 'credit_note')", name=op.f('ck_refund_intents_method')),
    sa.CheckConstraint("status IN ('creating', 'made', 'refused')", name=op.f('ck_refund_intents_status')),
    sa.CheckConstraint('amount_cents > 0', name=op.f('ck_refund_intents_amount')),
    sa.ForeignKeyConstraint(['account_id'], ['accounts.id'], name=op.f('fk_refund_intents_account_id_accounts')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_refund_intents')),
    sa.UniqueConstraint('idempotency_key', name=op.f('uq_refund_intents_idempotency_key')),
    sa.UniqueConstraint('public_id', name=op.f('uq_refund_intents_public_id'))
    )
    op.create_index(op.f('ix_refund_intents_account_id'), 'refund_intents', ['account_id'], unique=False)
    op.create_index(op.f('ix_refund_intents_stripe_charge_id'), 'refund_intents', ['stripe_charge_id'], unique=False)
    op.create_index('uq_refund_intents_under_way', 'refund_intents', ['stripe_charge_id'], unique=True, sqlite_where=sa.text("status = 'creating'"), postgresql_where=sa.text("status = 'creating'"))

    op.create_table('refunds',
    sa.Column('stripe_id', sa.String(length=255), nullable=False),
    sa.Column('account_id', database.BigId, nullable=False),
    sa.Column('stripe_charge_id', sa.String(length=255), nullable=False),
    sa.Column('amount_cents', sa.Integer(), nullable=False),
    sa.Column('currency', sa.String(length=3), nullable=False),
    sa.Column('stripe_status', sa.String(length=30), nullable=False),
    sa.Column('reason', sa.String(length=60), nullable=True),
    sa.Column('failure_reason', sa.String(length=100), nullable=True),
    sa.Column('created_at', database.UtcDateTime(), nullable=False),
    sa.ForeignKeyConstraint(['account_id'], ['accounts.id'], name=op.f('fk_refunds_account_id_accounts')),
    sa.PrimaryKeyConstraint('stripe_id', name=op.f('pk_refunds'))
    )
    op.create_index(op.f('ix_refunds_account_id'), 'refunds', ['account_id'], unique=False)
    op.create_index(op.f('ix_refunds_stripe_charge_id'), 'refunds', ['stripe_charge_id'], unique=False)
    _make_append_only(op.get_bind().dialect.name)


def _make_append_only(dialect):
    for verb in ("update", "delete"):
        if dialect == "sqlite":
            op.execute(
                f"CREATE TRIGGER audit_log_never_{verb} BEFORE {verb} ON audit_log "
                "BEGIN SELECT RAISE(ABORT, 'audit_log is append-only'); END"
            )
        else:  # the function came with the ledger
            op.execute(
                f"CREATE TRIGGER audit_log_never_{verb} BEFORE {verb} ON audit_log "
                "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
            )


def downgrade():
    for table in ("refunds", "refund_intents", "freeze_waivers", "fraud_warnings", "disputes", "audit_log"):
        op.drop_table(table)
