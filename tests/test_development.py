"""The first minute with a fresh copy: the settings that `make run` writes, and what it says when it cannot start."""

from __future__ import annotations

from pathlib import Path

import pytest
from dotenv import dotenv_values

import development
from app import CannotStart, create_app
from config import Config


@pytest.fixture
def env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / ".env"
    monkeypatch.setattr(development, "ENV_FILE", path)
    return path


def test_a_fresh_copy_gets_settings_with_secrets_of_its_own(env_file: Path) -> None:
    development.write_env_file()
    settings = dotenv_values(env_file)
    assert Config.from_env({name: value or "" for name, value in settings.items()}).app_name == "Tollgate"
    assert env_file.stat().st_mode & 0o077 == 0


def test_an_example_copied_by_hand_gets_its_secrets_and_keeps_what_was_changed(env_file: Path) -> None:
    env_file.write_text((development.ROOT / ".env.example").read_text().replace("=Tollgate\n", "=Letters\n"))
    development.write_env_file()
    settings = dotenv_values(env_file)
    assert development.PLACEHOLDER not in settings.values()
    assert settings["APP_NAME"] == "Letters"


def test_settings_that_have_their_secrets_are_left_alone(env_file: Path) -> None:
    development.write_env_file()
    before = env_file.read_text()
    development.write_env_file()
    assert env_file.read_text() == before


def test_a_start_that_cannot_be_says_all_that_is_wrong_as_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.load_dotenv", lambda path: None)
    monkeypatch.setenv("SECRET_KEY", "short")
    with pytest.raises(CannotStart, match="SECRET_KEY must be a secret") as caught:
        create_app()
    assert caught.value.exit_code == 1
