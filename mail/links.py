"""Absolute addresses for mails: they begin with APP_BASE_URL, whatever host a request claims to be for."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from flask import current_app

from config import Config


def to(endpoint: str, **values: Any) -> str:
    """Return the absolute address of a page; values that are no part of its path become the query."""
    config: Config = current_app.config["TOLLGATE"]
    base = urlsplit(config.app_base_url)
    adapter = current_app.url_map.bind(base.netloc, url_scheme=base.scheme)
    path = adapter.build(endpoint, {name: value for name, value in values.items() if value is not None})
    return config.app_base_url + path
