"""A person's own settings: their address and password, and whatever else is about them and not about an account."""

from __future__ import annotations

from blueprints.settings import addresses, deletion, overview, own_data
from blueprints.settings.base import bp

__all__ = ["addresses", "bp", "deletion", "overview", "own_data"]
