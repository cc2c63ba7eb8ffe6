"""Run migrations on the app's own engine, so that they meet the same pragmas and time-outs as the app."""

from __future__ import annotations

from alembic import context

from extensions import Base, db


def run() -> None:
    """Upgrade or downgrade through one connection; SQLite alters tables by copying them."""
    with db.engine.connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            render_as_batch=connection.dialect.name == "sqlite",
            compare_type=True,
        )
        with context.begin_transaction():
            context.run_migrations()


run()
