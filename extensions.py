"""The extensions' instances, bound to an application in app.py, and the base of all models."""

from __future__ import annotations

from flask import current_app, g, request
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from flask_wtf.csrf import CSRFProtect
from sqlalchemy import MetaData
from sqlalchemy.orm import DeclarativeBase


class Base(DeclarativeBase):
    """The base of all models; it names constraints so that migrations can find them on every database."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class FormTokens(CSRFProtect):  # type: ignore[misc]
    """Asks for a token wherever a browser may have added a session by itself, which is everywhere but with a key."""

    def protect(self, apply_exemptions: bool = False) -> None:
        """Refuse an unsafe request without its token; `g.is_program` is set where a request begins."""
        if request.method in current_app.config["WTF_CSRF_METHODS"] and not g.get("is_program", False):
            super().protect(apply_exemptions)


db = SQLAlchemy(model_class=Base)
migrate = Migrate()
csrf = FormTokens()
limiter = Limiter(key_func=get_remote_address)
