"""The words that the checker knows, kept in `checker/words/`: verbs that open a strong line, worn phrases, skills."""

from __future__ import annotations

from pathlib import Path

WORDS = Path(__file__).parent / "words"


def lines_in(name: str) -> tuple[str, ...]:
    """Return the lines of a word list, without its comments."""
    lines = (WORDS / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))


def words_in(name: str) -> frozenset[str]:
    """Return a word list as a set of words."""
    return frozenset(" ".join(lines_in(name)).split())


ACTION_VERBS = words_in("action_verbs")
NOT_VERBS = words_in("not_verbs")
STOP_WORDS = words_in("stop_words")
ADVERT_WORDS = words_in("advert_words")
EVERYDAY_WORDS = words_in("everyday_words")
WEAK_OPENINGS = lines_in("weak_openings")
WORN_PHRASES = lines_in("worn_phrases")
SKILLS = tuple(tuple(name.strip() for name in line.split("|")) for line in lines_in("skills"))
FIRST_PERSON = frozenset({"i", "i'm", "i've", "my", "me", "myself", "i’m", "i’ve"})
RESULT_VERBS = frozenset({"doubled", "halved", "tripled", "quadrupled"})
IRREGULAR_FORMS = {
    "built": "build", "chose": "choose", "cut": "cut", "drew": "draw", "drove": "drive", "found": "found",
    "gave": "give",
    "grew": "grow", "held": "hold", "kept": "keep", "led": "lead", "made": "make", "oversaw": "oversee", "ran": "run",
    "rebuilt": "rebuild", "sold": "sell", "set": "set", "sought": "seek", "spoke": "speak", "taught": "teach",
    "took": "take", "won": "win", "wrote": "write", "rewrote": "write", "brought": "bring", "began": "begin",
    "overcame": "overcome", "fought": "fight", "bought": "buy", "met": "meet", "beat": "beat", "dealt": "deal",
}  # fmt: skip


def base_form(word: str) -> str | None:
    """Return the action verb behind a word (`led`, `Managing`, `ships`), None when it is none that we know."""
    low = word.lower()
    if low in IRREGULAR_FORMS:
        return IRREGULAR_FORMS[low]
    return next((form for form in _candidates(low) if form in ACTION_VERBS), None)


def stem(word: str) -> str:
    """Return a rough common form, so that `test`, `tests`, `testing` and `tested` are one; names keep their shape."""
    low = word.lower().replace("’", "'").removesuffix("'s")
    if len(low) <= 3 or not low.isalpha():
        return low
    for ending, replacement in (("ies", "y"), ("sses", "ss"), ("ing", ""), ("ed", ""), ("s", "")):
        if low.endswith(ending) and len(low) - len(ending) >= 3 and not low.endswith(("ss", "us", "is")):
            low = low[: -len(ending)] + replacement
            break
    if len(low) > 4 and low[-1] == low[-2] and low[-1] not in "ls":
        low = low[:-1]  # planning -> plann -> plan
    return low.removesuffix("e") if len(low) > 4 else low


def _candidates(low: str) -> list[str]:
    forms = [low]
    for ending in ("ing", "ed", "es", "s", "d"):
        if low.endswith(ending) and len(low) > len(ending) + 2:
            root = low[: -len(ending)]
            forms += [root, root + "e", root[:-1] if root[-1] == root[-2] else root]
    if low.endswith("ied"):
        forms.append(low[:-3] + "y")
    return forms
