"""Turn findings into points: named parts, each with what was found and the one thing to do next.

The points say what readers of CVs look for first: can I reach this person, what did they do, what came of it, and is
it quick to read. They are advice, not a prediction of anybody's decision.
"""

from __future__ import annotations

from dataclasses import dataclass

from checker.contact import Contact
from checker.keywords import Match, Weight
from checker.readability import Readability
from checker.sections import ESSENTIAL, Section
from checker.text import Document
from checker.writing import Writing

GOOD_LENGTH = (300, 1_000)
EASY_ENOUGH = 50
TOO_HARD = 70
GOOD_RESULTS_SHARE = 0.5
GOOD_VERBS_SHARE = 0.8
ENOUGH_LINES = 6  # fewer lines about work cannot earn all points, however good they are
MORE_LINES = f"Write more such lines: {ENOUGH_LINES} or more in all, three to five for your latest work."
SECTION_POINTS = {"experience": 8, "education": 4, "skills": 5, "summary": 3}
SECTION_ADVICE = {
    "experience": "Add a heading “Experience” with each job's title, employer and dates below it.",
    "education": "Add a heading “Education” with your highest qualification, where and when.",
    "skills": "Add a heading “Skills” with eight to twelve skills; people and programs look for that list.",
    "summary": "Open with a “Summary” of two or three lines: what you do, for how long, what you want next.",
}


@dataclass(frozen=True)
class Part:
    """One named part of the score; `improvement` is None when there is nothing left to gain."""

    name: str
    points: int
    out_of: int
    finding: str
    improvement: str | None


def parts(
    document: Document,
    sections: list[Section],
    *,
    contact: Contact,
    writing: Writing,
    readability: Readability | None,
    match: Match | None,
) -> list[Part]:
    """Return the parts of the score in the order of the page."""
    scored = [
        results(writing),
        openings(writing),
        structure(sections),
        contact_details(contact),
        reading(readability),
        wording(writing),
        length(document),
    ]
    return [*scored, keywords(match)] if match is not None and match.keywords else scored


def total(scored: list[Part]) -> int:
    """Return the score from 0 to 100: points over what could be had, rounded down so that 100 means nothing is left."""
    return 100 * sum(p.points for p in scored) // sum(p.out_of for p in scored)


def length(document: Document) -> Part:
    """Score the length: one or two pages are read."""
    low, high = GOOD_LENGTH
    words = document.word_count
    finding = f"{words:,} words, about {_count(document.pages, 'page')}."
    if words < low:
        points = 10 * words // low
        return Part("Length", points, 10, finding, f"Say more about your work: aim for {low} to {high:,} words.")
    if words > high:
        points = max(0, 10 - (words - high) // 100)
        return Part(
            "Length",
            min(points, 9),
            10,
            finding,
            f"Cut about {words - high:,} words: one or two pages are read, more are skimmed.",
        )
    return Part("Length", 10, 10, finding, None)


def structure(sections: list[Section]) -> Part:
    """Score the sections: the four that every reader looks for."""
    filled = [s for s in sections if s.kind != "top" and s.lines]
    kinds = {s.kind for s in filled}
    points = sum(value for kind, value in SECTION_POINTS.items() if kind in kinds)
    headings = ", ".join(dict.fromkeys(s.heading for s in filled))
    missing = [kind for kind in ESSENTIAL if kind not in kinds]
    finding = f"Found: {headings}." if headings else "No section has a heading that a reader or a program would know."
    return Part("Sections", points, 20, finding, SECTION_ADVICE[missing[0]] if missing else None)


def contact_details(contact: Contact) -> Part:
    """Score how the writer can be reached."""
    points = 4 * bool(contact.email) + 3 * bool(contact.phone) + 2 * bool(contact.link) + bool(contact.place)
    found = [v for v in (contact.email, contact.phone, contact.link, contact.place) if v]
    finding = f"Found: {', '.join(found)}." if found else "A reader could not reach you."
    if contact.personal:
        points = max(0, points - 2)
        return Part(
            "Contact",
            points,
            10,
            finding,
            f"Leave out {_listed(contact.personal)}: it invites bias or misuse, and nobody needs it to invite you.",
        )
    advice = {
        "an e-mail address": "Put your e-mail address below your name.",
        "a phone number": "Add a phone number with its country code.",
        "a link": "Add a link that shows more of you: LinkedIn, a portfolio, a code repository.",
        "a place": "Add your town and country; the street is not needed.",
    }
    missing = contact.missing
    return Part("Contact", points, 10, finding, advice[missing[0]] if missing else None)


def results(writing: Writing) -> Part:
    """Score how many lines prove what came of the work."""
    lines = writing.statements
    if not lines:
        return Part(
            "Results",
            0,
            25,
            "No line tells what you did.",
            "Write three to five bullets for each job, each with what came of your work.",
        )
    proven = len(writing.with_result)
    points = min(25, round(25 * proven / max(len(lines), ENOUGH_LINES) / GOOD_RESULTS_SHARE))
    finding = f"{proven} of {len(lines)} lines about your work prove it with a number."
    if points == 25:
        return Part("Results", 25, 25, finding, None)
    if proven == len(lines):
        return Part("Results", points, 25, finding, MORE_LINES)
    return Part(
        "Results",
        points,
        25,
        finding,
        "Add a number where you know one: how many, how often, how much faster, from what to what.",
    )


def openings(writing: Writing) -> Part:
    """Score how many lines open with what was done."""
    lines = writing.statements
    if not lines:
        return Part(
            "Action verbs",
            0,
            15,
            "No line tells what you did.",
            "Start each line with what you did: led, built, taught, sold, repaired.",
        )
    strong = len(writing.strong)
    points = min(15, round(15 * strong / max(len(lines), ENOUGH_LINES) / GOOD_VERBS_SHARE))
    finding = f"{strong} of {len(lines)} lines open with an action verb."
    weak = [s.weak_opening for s in lines if s.weak_opening]
    if weak:
        points = min(points, 14)
        return Part(
            "Action verbs",
            points,
            15,
            finding,
            f"Replace “{weak[0]}” by the verb for what you did: led, built, taught, sold, repaired.",
        )
    if points == 15:
        return Part("Action verbs", 15, 15, finding, None)
    if strong == len(lines):
        return Part("Action verbs", points, 15, finding, MORE_LINES)
    return Part(
        "Action verbs", points, 15, finding, "Start more lines with what you did: led, built, taught, sold, repaired."
    )


def reading(readability: Readability | None) -> Part:
    """Score how quick the text is to read."""
    if readability is None:
        return Part(
            "Readability", 0, 10, "There are no sentences to measure.", "Write what you did in short, whole lines."
        )
    span = TOO_HARD - EASY_ENOUGH
    points = max(0, min(10, round(10 * (TOO_HARD - readability.lix) / span)))
    finding = f"LIX {readability.lix} ({readability.level}), {readability.words_per_sentence:g} words a sentence."
    if readability.long_sentences:
        return Part(
            "Readability",
            min(points, 9),
            10,
            finding,
            f"Split {_count(len(readability.long_sentences), 'sentence')} of more than 30 words.",
        )
    if points == 10:
        return Part("Readability", 10, 10, finding, None)
    return Part(
        "Readability",
        points,
        10,
        finding,
        "Use shorter words where you can: “use” for “utilisation of”, “help” for “facilitate”.",
    )


def wording(writing: Writing) -> Part:
    """Score the words: none worn, none used over and over."""
    points = (
        10 - 2 * len(writing.worn_phrases) - 2 * len(writing.repeated_openings) - (2 if writing.first_person > 3 else 0)
    )
    notes = []
    if writing.worn_phrases:
        notes.append("worn phrases: " + ", ".join(f"“{p}”" for p in writing.worn_phrases[:4]))
    if writing.repeated_openings:
        notes.append(
            "repeated openings: " + ", ".join(f"{verb} ({n} times)" for verb, n in writing.repeated_openings[:4])
        )
    if writing.first_person > 3:
        notes.append(f"“I”, “my” and “me” {writing.first_person} times")
    finding = _sentence("; ".join(notes)) if notes else "No worn phrases, no verb used over and over."
    return Part("Wording", max(0, points), 10, finding, _wording_advice(writing))


def keywords(match: Match) -> Part:
    """Score how much of what the advert wants is named."""
    matched, missing = match.matched, match.missing
    finding = f"{len(matched)} of {_count(len(match.keywords), 'keyword')} of the advert are in your CV."
    points = int(40 * match.share)
    if not missing:
        return Part("Keywords", 40, 40, finding, None)
    urgent = [k for k in missing if k.weight == Weight.MUST] or missing
    wanted = _listed([k.term for k in urgent[:3]])
    return Part("Keywords", points, 40, finding, f"If it is true of you, name {wanted} in the line where you used it.")


def _wording_advice(writing: Writing) -> str | None:
    if writing.worn_phrases:
        return f"Replace “{writing.worn_phrases[0]}” by one line that proves it."
    if writing.repeated_openings:
        verb, count = writing.repeated_openings[0]
        return f"“{verb.capitalize()}” opens {count} lines: find another verb for some of them."
    if writing.first_person > 3:
        return "Drop “I” and “my”: “Led a team of five” says it all."
    return None


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _listed(names: list[str] | tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."
