"""Compare a CV with a job advert: which of the things asked for does the CV name, and which not."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from itertools import pairwise

from checker.text import Document, Line, words_of
from checker.vocabulary import ADVERT_WORDS, EVERYDAY_WORDS, SKILLS, STOP_WORDS, stem

MAX_KEYWORDS = 25
MAX_NAME_WORDS = 4
MUST = re.compile(
    r"\b(?:must|essential|required|requirements?|minimum|you have|you['’]ll have|you bring|need to have|qualif\w+)\b",
    re.I,
)
PLUS = re.compile(r"\b(?:nice to have|desirable|bonus|a plus|preferred|ideally|advantage\w*|beneficial)\b", re.I)
ABOUT_THEM = re.compile(
    r"^(?:about (?:us|the company)|who we are|what we offer|we offer|benefits|perks"
    r"|our benefits|salary|location|how to apply"
    r"|equal opportunit\w+|what you(?:'|’)ll get|closing date|hours|contract|pay)\b",
    re.I,
)
HEADING_WORDS = 6
ROLE = re.compile(r"\b(?:the role|the job|what you|you will|you are|responsibilit\w+|duties|who you|skills)\b", re.I)
ASIDE = re.compile(r"\b(?=(?:ideally|preferably)\b)", re.I)
NAMED_AFTER = frozenset({"at", "join", "joining", "from", "near"})


class Weight(IntEnum):
    """How much the advert wants it."""

    PLUS = 1
    WANTED = 2
    MUST = 3


@dataclass(frozen=True)
class Keyword:
    """Something the advert asks for, and how often the CV names it."""

    term: str
    weight: Weight
    count: int


@dataclass(frozen=True)
class Match:
    """The advert's keywords, the most wanted first."""

    keywords: tuple[Keyword, ...]

    @property
    def matched(self) -> list[Keyword]:
        return [k for k in self.keywords if k.count]

    @property
    def missing(self) -> list[Keyword]:
        return [k for k in self.keywords if not k.count]

    @property
    def share(self) -> float:
        """Return how much of what is wanted is named, by weight, from 0 to 1."""
        total = sum(k.weight for k in self.keywords)
        return sum(k.weight for k in self.matched) / total if total else 1.0


@dataclass
class _Term:
    shown: str
    weight: Weight
    count: int
    is_known: bool

    @property
    def rank(self) -> int:
        return self.weight * (2 if self.is_known else 1) + min(self.count, 3)


def compare(cv: Document, advert: Document) -> Match:
    """Return which of the advert's keywords the CV names; inflected forms and other names of a skill count."""
    ngrams = _ngrams([stem(w) for line in cv.lines for w in [*line.words, "|"]])
    found = []
    for key, term in wanted(advert):
        forms = _forms_of(key)
        found.append(Keyword(term.shown, term.weight, sum(ngrams[form] for form in forms)))
    return Match(tuple(found))


def wanted(advert: Document) -> list[tuple[tuple[str, ...], _Term]]:
    """Return the advert's keywords by their stems, the most wanted first, at most 25."""
    terms: dict[tuple[str, ...], _Term] = {}
    lines = _asking_lines(advert)
    repeated = _repeated(lines)
    for line, weight in lines:
        for key, shown, is_known in _terms_in(line, repeated):
            term = terms.setdefault(key, _Term(shown, weight, 0, is_known))
            term.count += 1
            term.weight = max(term.weight, weight)
    in_phrases = {part for key in terms if len(key) > 1 for part in key}
    for key in [k for k, term in terms.items() if not term.is_known and len(k) == 1 and k[0] in in_phrases]:
        del terms[key]  # "care" says nothing beside "wound care"
    ranked = sorted(terms.items(), key=lambda item: item[1].rank, reverse=True)[:MAX_KEYWORDS]
    return sorted(ranked, key=lambda item: item[1].weight, reverse=True)


def _asking_lines(advert: Document) -> list[tuple[Line, Weight]]:
    """Return the lines that ask for something; what employers say about themselves is left out."""
    asking = []
    under, is_about_them = Weight.WANTED, False
    for line in advert.lines:
        is_label = ABOUT_THEM.match(line.text) is not None
        if _is_heading(line):
            is_about_them = is_label
            under = _weight_of(line.text, Weight.WANTED)
        if is_about_them or is_label:
            continue
        for piece in ASIDE.split(line.text):  # "SQL, ideally PostgreSQL": the first is a must, the second is not
            asking.append((Line(line.number, piece, line.is_bullet), _weight_of(piece, under)))
    return asking


def _is_heading(line: Line) -> bool:
    if line.is_bullet or len(line.words) > HEADING_WORDS or line.text.endswith("."):
        return False
    return line.text.endswith(":") or any(p.search(line.text) for p in (ABOUT_THEM, MUST, PLUS, ROLE))


def _weight_of(text: str, otherwise: Weight) -> Weight:
    if PLUS.search(text):
        return Weight.PLUS
    return Weight.MUST if MUST.search(text) else otherwise


def _repeated(lines: list[tuple[Line, Weight]]) -> Counter[tuple[str, ...]]:
    """Count content words and pairs of them, so that what an advert repeats is seen as important."""
    counts: Counter[tuple[str, ...]] = Counter()
    for line, _ in lines:
        words = line.words
        counts.update((stem(w),) for w in words if _is_content(w))
        counts.update((stem(a), stem(b)) for a, b in _pairs(line.text) if _is_content(a) and _is_content(b))
    return counts


def _terms_in(line: Line, repeated: Counter[tuple[str, ...]]) -> list[tuple[tuple[str, ...], str, bool]]:
    words = line.words
    stems = [stem(w) for w in words]
    found: list[tuple[tuple[str, ...], str, bool]] = []
    position = 0
    while position < len(words):
        known = _known_at(words, stems, position)
        if known is not None:
            length, name = known
            found.append((_key_of(name), name, True))
            position += length
            continue
        pair = tuple(stems[position : position + 2])
        if repeated[pair] >= 2 and len(pair) == 2:
            found.append((pair, f"{words[position]} {words[position + 1]}".lower(), False))
            position += 2
            continue
        if _is_named(words, position) and _is_named(words, position + 1):
            found.append((pair, f"{words[position]} {words[position + 1]}", False))
            position += 2
            continue
        if _is_content(words[position]) and (repeated[(stems[position],)] >= 2 or _is_named(words, position)):
            found.append(((stems[position],), _shown(words[position]), False))
        position += 1
    return found


def _known_at(words: list[str], stems: list[str], position: int) -> tuple[int, str] | None:
    table = _known()
    for length in range(min(MAX_NAME_WORDS, len(words) - position), 0, -1):
        name = table.get(tuple(stems[position : position + length]))
        if name is None:
            continue
        # Go, REST, Word and other everyday words are skills only when written as names.
        is_everyday = length == 1 and stems[position] in _everyday_stems()
        if is_everyday and (position == 0 or not words[position][0].isupper()):
            continue
        return length, name
    return None


def _is_content(word: str) -> bool:
    low = word.lower()
    is_word = len(low) >= 3 or not low.isalpha()
    is_plain = low not in STOP_WORDS and low not in ADVERT_WORDS and stem(low) not in _advert_stems()
    return is_word and is_plain and not low[0].isdigit()


def _is_named(words: list[str], position: int) -> bool:
    """Tell whether a word looks like the name of a tool or method rather than of the employer or a town."""
    if position >= len(words):
        return False
    word = words[position]
    if any(c in "+#" or c.isdigit() for c in word):
        return True
    if not word.isupper() or not 2 <= len(word) <= 6:
        return False
    is_shouted = sum(w.isupper() for w in words) > len(words) / 2
    return not is_shouted and (position == 0 or words[position - 1].lower() not in NAMED_AFTER)


def _shown(word: str) -> str:
    return word if any(c.isupper() for c in word[1:]) or not word.isalpha() else word.lower()


def _pairs(text: str) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for piece in re.split(r"[,;:.()/!?]\s*", text):
        words = words_of(piece)
        pairs += pairwise(words)
    return pairs


def _ngrams(stems: list[str]) -> Counter[tuple[str, ...]]:
    counts: Counter[tuple[str, ...]] = Counter()
    for length in range(1, MAX_NAME_WORDS + 1):
        counts.update(zip(*(stems[offset:] for offset in range(length)), strict=False))
    return counts


def _key_of(name: str) -> tuple[str, ...]:
    return tuple(stem(w) for w in words_of(name))


def _forms_of(key: tuple[str, ...]) -> set[tuple[str, ...]]:
    name = _known().get(key)
    return _names_of()[name] | {key} if name is not None else {key}


@lru_cache(maxsize=1)
def _known() -> dict[tuple[str, ...], str]:
    return {form: name for name, forms in _names_of().items() for form in forms}


@lru_cache(maxsize=1)
def _names_of() -> dict[str, set[tuple[str, ...]]]:
    return {names[0]: {_key_of(name) for name in names} for names in SKILLS}


@lru_cache(maxsize=1)
def _everyday_stems() -> frozenset[str]:
    return frozenset(stem(w) for w in EVERYDAY_WORDS)


@lru_cache(maxsize=1)
def _advert_stems() -> frozenset[str]:
    return frozenset(stem(w) for w in ADVERT_WORDS)
