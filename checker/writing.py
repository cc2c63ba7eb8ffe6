"""Judge the lines that tell the work: how they open, whether they prove a result, and which words wear out."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from checker import vocabulary
from checker.sections import WORKING, Section, lines_of
from checker.text import Document, Line, words_of

LONG_LINE = 30
REPEATED_OPENING = 3
DATES = re.compile(
    r"\b(?:19|20)\d\d\b|\b\d{1,2}/\d{2,4}\b"
    r"|\b(?:jan|feb|mar|apr|may|jun|jul|aug|sep|sept|oct|nov|dec)[a-z]*\.? \d{1,2}\b"
    r"|\bq[1-4]\b",
    re.I,
)
HEADER = re.compile(r"(?:19|20)\d\d|\bpresent\b|\bto date\b|\|", re.I)
AMOUNT = re.compile(r"\d")
NUMBER_WORDS = re.compile(
    r"\b(?:two|three|four|five|six|seven|eight|nine|ten|twelve|twenty|thirty|fifty|hundred|thousand"
    r"|(?:a|one|by) (?:half|third|quarter))\b",
    re.I,
)


@dataclass(frozen=True)
class Statement:
    """One line about work done, with what is good and weak about it."""

    text: str
    verb: str | None
    weak_opening: str | None
    has_result: bool
    word_count: int

    @property
    def is_strong(self) -> bool:
        return self.verb is not None and self.weak_opening is None


@dataclass(frozen=True)
class Writing:
    """The statements, openings used three times or more, worn phrases, and how often the writer says `I`."""

    statements: tuple[Statement, ...]
    repeated_openings: tuple[tuple[str, int], ...]
    worn_phrases: tuple[str, ...]
    first_person: int

    @property
    def strong(self) -> list[Statement]:
        return [s for s in self.statements if s.is_strong]

    @property
    def with_result(self) -> list[Statement]:
        return [s for s in self.statements if s.has_result]


def judge(document: Document, sections: list[Section]) -> Writing:
    """Return what the lines about work say, and how."""
    statements = tuple(_statement(line) for line in statement_lines(document, sections))
    openings = Counter(s.verb for s in statements if s.verb)
    low = " ".join(document.text.lower().split())
    words = [w.lower() for w in words_of(document.text)]
    return Writing(
        statements=statements,
        repeated_openings=tuple((v, n) for v, n in openings.most_common() if n >= REPEATED_OPENING),
        worn_phrases=tuple(p for p in vocabulary.WORN_PHRASES if re.search(rf"\b{re.escape(p)}\b", low)),
        first_person=sum(1 for w in words if w in vocabulary.FIRST_PERSON),
    )


def statement_lines(document: Document, sections: list[Section]) -> list[Line]:
    """Return the lines that tell what was done: bullets of the working sections, or their sentences if none has any."""
    lines = lines_of(sections, *WORKING)
    if not any(section.kind in WORKING for section in sections):
        lines = [line for line in document.lines if line.is_bullet]
    bullets = [line for line in lines if line.is_bullet and len(line.words) >= 3]
    if len(bullets) >= 3:
        return bullets
    return bullets + [piece for line in lines if not line.is_bullet for piece in _sentences(line)]


def _sentences(line: Line) -> list[Line]:
    if len(line.words) < 6 or (HEADER.search(line.text) and len(line.words) < 12):
        return []  # "Engineer, Acme Ltd, 2019 - present" heads a job and tells no work
    pieces = re.split(r"(?<=[.!?;])\s+", line.text)
    return [Line(line.number, piece, False) for piece in pieces if len(words_of(piece)) >= 4]


def _statement(line: Line) -> Statement:
    words = line.words
    weak = _weak_opening(line.text)
    return Statement(
        text=line.text,
        verb=None if weak else _opening_verb(words),
        weak_opening=weak,
        has_result=_has_result(line.text),
        word_count=len(words),
    )


def _weak_opening(text: str) -> str | None:
    low = re.sub(r"^(?:i|i was|was)\s+", "", text.lower().lstrip("-• "))
    return next((opening for opening in vocabulary.WEAK_OPENINGS if re.match(rf"{opening}\b", low)), None)


def _opening_verb(words: list[str]) -> str | None:
    """Return the verb that opens a line, looking past `I`, `Also` and `Successfully`."""
    for word in words[:3]:
        low = word.lower()
        verb = vocabulary.base_form(low)
        if verb is not None:
            return verb
        if low.endswith("ed") and len(low) > 4 and low not in vocabulary.NOT_VERBS:
            return low
        if not (low.endswith("ly") or low in {"i", "also", "and", "then", "jointly", "co"}):
            return None
    return None


def _has_result(text: str) -> bool:
    plain = DATES.sub(" ", text)
    if AMOUNT.search(re.sub(r"\b[A-Za-z]+\d+\b|\b\d+[a-z]*-?(?:year|th|st|nd|rd)\b", " ", plain)):
        return True
    return bool(NUMBER_WORDS.search(plain)) or any(w.lower() in vocabulary.RESULT_VERBS for w in words_of(plain))
