"""The checker's one job: text in, report out."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from checker import contact, keywords, readability, scoring, sections, text, writing
from checker.sections import Section
from checker.text import Document
from checker.writing import Statement

MAX_NOTES = 6
VERDICTS = ((85, "Ready to send"), (70, "Nearly there"), (50, "Worth another hour"), (0, "Start with the first three"))


@dataclass(frozen=True)
class Note:
    """One line of the CV that could be better, and why."""

    line: str
    advice: str


@dataclass(frozen=True)
class FoundKeyword:
    """A keyword of the advert; `wanted` is must, wanted or plus, `count` how often the CV names it."""

    term: str
    wanted: str
    count: int


@dataclass(frozen=True)
class Report:
    """What the checker says about one CV. Plain values only, so that it can be kept as JSON and read back.

    `score` is 0 to 100; `next_steps` are the improvements that gain the most points, the best first.
    """

    title: str
    words: int
    pages: int
    score: int
    verdict: str
    parts: tuple[scoring.Part, ...]
    next_steps: tuple[str, ...]
    notes: tuple[Note, ...]
    keywords: tuple[FoundKeyword, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Report:
        """Return the report that was stored by `to_json`."""
        return cls(
            **{
                **stored,
                "parts": tuple(scoring.Part(**part) for part in stored["parts"]),
                "next_steps": tuple(stored["next_steps"]),
                "notes": tuple(Note(**note) for note in stored["notes"]),
                "keywords": tuple(FoundKeyword(**word) for word in stored["keywords"]),
            }
        )


def check(cv: str, advert: str = "") -> Report:
    """Return the report on a CV, with the keywords of a job advert when there is one.

    Raises a child of checker.errors.UnusableText when the text or the advert cannot be read.
    """
    document = text.read(cv)
    wanted = text.read_advert(advert)
    found = sections.find(document)
    judged = writing.judge(document, found)
    match = keywords.compare(document, wanted) if wanted is not None else None
    prose = writing.statement_lines(document, found) + sections.lines_of(found, "summary")
    parts = scoring.parts(
        document,
        found,
        contact=contact.find(document, found),
        writing=judged,
        readability=readability.measure(prose or list(document.lines)),
        match=match,
    )
    score = scoring.total(parts)
    return Report(
        title=_title(document, found),
        words=document.word_count,
        pages=document.pages,
        score=score,
        verdict=next(verdict for least, verdict in VERDICTS if score >= least),
        parts=tuple(parts),
        next_steps=_next_steps(parts),
        notes=_notes(judged),
        keywords=tuple(FoundKeyword(k.term, k.weight.name.lower(), k.count) for k in match.keywords) if match else (),
    )


def _title(document: Document, found: list[Section]) -> str:
    """Return what the CV calls itself: its first line, which is nearly always the name."""
    lines = found[0].lines or list(document.lines)
    first = next(
        (line for line in lines if line.text.lower() not in {"cv", "curriculum vitae", "resume", "résumé"}), lines[0]
    )
    return text.shortened(first.text, 60)


def _next_steps(parts: list[scoring.Part]) -> tuple[str, ...]:
    by_gain = sorted(parts, key=lambda part: part.out_of - part.points, reverse=True)
    return tuple(part.improvement for part in by_gain if part.improvement)[:3]


def _notes(judged: writing.Writing) -> tuple[Note, ...]:
    noted = [(len(advice), s, advice) for s in judged.statements if (advice := _advice(s))]
    noted.sort(key=lambda item: -item[0])
    return tuple(Note(text.shortened(s.text), " ".join(advice)) for _, s, advice in noted[:MAX_NOTES])


def _advice(statement: Statement) -> list[str]:
    advice = []
    if statement.weak_opening:
        advice.append(f"Open with the verb for what you did, not with “{statement.weak_opening}”.")
    elif statement.verb is None:
        advice.append("Open with the verb for what you did.")
    if not statement.has_result:
        advice.append("Add what came of it: a number makes it believable.")
    if statement.word_count > writing.LONG_LINE:
        advice.append(f"Split it: it has {statement.word_count} words.")
    return advice
