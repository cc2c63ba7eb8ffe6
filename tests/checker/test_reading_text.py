"""What counts as a text, and how many pages it has."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import checker
from checker import report, text
from checker.errors import NotText, TextMissing, TextTooLong, TextTooShort, UnusableText
from tests.checker.samples import advert, cv, words


@pytest.mark.parametrize(("count", "pages"), [(50, 1), (500, 1), (501, 2), (1000, 2), (1001, 3), (5000, 10)])
def test_a_page_is_five_hundred_words_and_a_started_page_counts(count: int, pages: int) -> None:
    assert text.read(words(count)).pages == pages


@pytest.mark.parametrize("nothing", ["", "  \n\t ", "\ufeff\u200b"])
def test_nothing_is_no_text(nothing: str) -> None:
    with pytest.raises(TextMissing):
        text.read(nothing)


def test_a_short_text_is_refused_with_its_words_and_the_least() -> None:
    with pytest.raises(TextTooShort) as refused:
        text.read(words(49))
    assert (refused.value.words, refused.value.minimum) == (49, 50)


@pytest.mark.parametrize(("long", "unit"), [(words(5001), "words"), ("word " * 20_000, "characters")])
def test_a_long_text_is_refused_with_what_was_counted(long: str, unit: str) -> None:
    with pytest.raises(TextTooLong) as refused:
        text.read(long)
    assert refused.value.unit == unit
    assert refused.value.length > refused.value.maximum


@pytest.mark.parametrize(
    "noise",
    [
        "%PDF-1.7 " + words(100),
        "PK\x03\x04" + words(100),
        "{\\rtf1 " + words(100),
        words(100) + "\x00",
        "1234 5678 90 " * 100,
        "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9w " * 60,
    ],
)
def test_bytes_numbers_and_noise_are_no_text(noise: str) -> None:
    with pytest.raises(NotText):
        text.read(noise)


def test_a_refused_advert_names_its_field() -> None:
    with pytest.raises(TextTooLong) as refused:
        report.check(cv("developer"), "word " * 10_000)
    assert refused.value.field == "advert"


def test_windows_line_ends_change_nothing() -> None:
    unix, windows = cv("developer"), cv("developer").replace("\n", "\r\n")
    assert report.check(unix, advert("developer")) == report.check(windows, advert("developer"))


def test_a_bullet_broken_over_two_lines_is_one_line() -> None:
    document = text.read(cv("developer"))
    assert any("caching in Redis and two indexes" in line.text for line in document.lines)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=2000), st.text(max_size=500))
def test_any_text_is_either_read_or_refused(anything: str, wanted: str) -> None:
    try:
        findings = report.check(anything + words(60), wanted)
    except UnusableText:
        return
    assert 0 <= findings.score <= 100
    assert report.Report.from_json(findings.to_json()) == findings


@pytest.mark.parametrize("character", ["a", " a", "a.", "1a ", "-a ", "A, ", "a@", "+1 (", "http://a"])
def test_no_text_makes_the_reader_slow(character: str) -> None:
    # Patterns that go back and forth take minutes on such texts; the test's own limit is the patience of the suite.
    try:
        report.check((words(60) + "\n" + character * 60_000)[: text.MAX_CHARACTERS], character * 6_000)
    except UnusableText as refused:
        assert refused.field in {"text", "advert"}


def test_the_reading_knows_no_database_and_no_web() -> None:
    allowed = {"__future__", "collections", "dataclasses", "enum", "functools", "itertools", "math", "pathlib", "re"}
    allowed |= {"typing", "unicodedata", "checker"}
    for path in Path(checker.__file__).parent.glob("*.py"):
        if path.name in {"models.py", "archive.py"}:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert name.split(".")[0] in allowed, f"{path.name} imports {name}: keep the reading pure"
