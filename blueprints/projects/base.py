"""The blueprint of the projects demo."""

from __future__ import annotations

from flask import Blueprint

bp = Blueprint("projects", __name__)

MOST_AT_ONCE = 1_000_000
