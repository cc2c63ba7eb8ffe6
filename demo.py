"""The people that a fresh copy starts with, so that there is somebody to log in as."""

from __future__ import annotations

from dataclasses import dataclass

from flask import current_app

from config import Config


@dataclass(frozen=True)
class Person:
    """One demo login."""

    email: str
    password: str
    is_admin: bool = False


PEOPLE = (
    Person("demo@tollgate.example", "demo-of-tollgate"),
    Person("admin@tollgate.example", "admin-of-tollgate", is_admin=True),
)


class NotForTheWorld(Exception):
    """Demo logins with known passwords may not exist on a site that others can reach."""


def seed() -> None:
    """Make the demo people unless they exist; raise NotForTheWorld on a public or live site."""
    config: Config = current_app.config["TOLLGATE"]
    if config.is_public or config.is_live:
        raise NotForTheWorld("demo logins are for loopback addresses with a test key")
    for person in PEOPLE:
        _make(person)
