"""The people that a fresh copy starts with, so that there is somebody to log in as."""

from __future__ import annotations

from dataclasses import dataclass

from flask import current_app
from sqlalchemy.orm import Session

import clock
import database
from accounts import passwords, people
from accounts.models import STAFF, Role
from config import Config
from extensions import db


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


def _make(person: Person) -> None:
    """Make one demo person, verified, with the account and credits that everybody gets."""
    if people.find_user(db.session(), person.email) is not None:
        return
    password_hash = passwords.hashed(person.password)
    database.write(_insert, person, password_hash)


def _insert(session: Session, person: Person, password_hash: str) -> None:
    user = people.create_user(session, email=person.email, password_hash=password_hash, confirmed_at=clock.now())
    if person.is_admin:
        user.roles.append(Role(name=STAFF, description="May use the back office"))
