"""What the checker finds in CVs as people write them."""

from __future__ import annotations

import pytest

from checker import contact, readability, report, scoring, sections, text, vocabulary, writing
from checker.report import Report
from tests.checker.samples import advert, cv


def part(findings: Report, name: str) -> scoring.Part:
    return next(p for p in findings.parts if p.name == name)


def terms(findings: Report, *, named: bool) -> set[str]:
    return {k.term for k in findings.keywords if bool(k.count) == named}


def test_a_strong_cv_scores_far_above_a_weak_one() -> None:
    strong, weak = report.check(cv("developer")), report.check(cv("nurse"))
    assert strong.score >= 90
    assert weak.score <= 40


@pytest.mark.parametrize("name", ["developer", "nurse", "manager_unmarked", "graduate"])
def test_every_part_gives_its_reason_and_a_next_step_unless_it_is_full(name: str) -> None:
    for scored in report.check(cv(name), advert("developer")).parts:
        assert 0 <= scored.points <= scored.out_of
        assert scored.finding.endswith(".")
        assert (scored.improvement is None) == (scored.points == scored.out_of), scored


def test_the_next_steps_are_those_that_gain_most() -> None:
    findings = report.check(cv("nurse"))
    assert findings.next_steps[0] == part(findings, "Results").improvement
    assert len(findings.next_steps) == 3


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("developer", ["summary", "experience", "education", "skills", "interests"]),
        ("nurse", ["summary", "experience", "education"]),
        ("manager_unmarked", ["summary", "experience", "education", "skills"]),
        ("graduate", ["summary", "education", "experience"]),
    ],
)
def test_sections_are_found_by_the_many_names_of_their_headings(name: str, kinds: list[str]) -> None:
    assert [s.kind for s in sections.find(text.read(cv(name)))[1:]] == kinds


def test_contact_details_are_found_and_named() -> None:
    document = text.read(cv("developer"))
    found = contact.find(document, sections.find(document))
    assert found == contact.Contact(
        "maya.okafor@example.com", "+44 20 7946 0018", "github.com/mayaokafor", "Leeds, United Kingdom", ()
    )


def test_years_of_a_job_are_no_phone_number() -> None:
    document = text.read(cv("graduate"))
    assert contact.find(document, sections.find(document)).phone is None


def test_a_date_of_birth_is_to_be_left_out() -> None:
    advice = part(report.check(cv("nurse")), "Contact").improvement
    assert advice is not None
    assert "date of birth" in advice


def test_responsible_for_is_no_action_verb() -> None:
    document = text.read(cv("nurse"))
    judged = writing.judge(document, sections.find(document))
    assert judged.strong == []
    assert judged.statements[0].weak_opening == "responsible for"


@pytest.mark.parametrize(
    ("line", "is_result"),
    [
        ("Cut costs by 12%", True),
        ("Trained nine team leaders", True),
        ("Doubled the number of readers", True),
        ("Waste fell by a third", True),
        ("Kept the till", False),
        ("Moved to Leeds in 2019", False),
        ("Wrote HTML5 and CSS3", False),
        ("Worked there from 03/2019", False),
    ],
)
def test_a_result_is_a_number_that_is_no_date_and_no_name(line: str, is_result: bool) -> None:
    filler = "\n".join(["Experience", f"- {line}", "- Led a choir of singers", "- Sang at weddings and in churches"])
    document = text.read(filler + "\nInterests\n" + "walking in the hills " * 12)
    statements = writing.judge(document, sections.find(document)).statements
    assert statements[0].has_result is is_result


def test_sentences_are_judged_where_no_line_has_a_bullet() -> None:
    document = text.read(cv("manager_unmarked"))
    judged = writing.judge(document, sections.find(document))
    assert len(judged.statements) == 7
    assert all(s.is_strong for s in judged.statements)
    assert judged.repeated_openings == (("manage", 4),)


def test_few_lines_cannot_earn_all_points() -> None:
    findings = report.check(cv("graduate"))
    assert part(findings, "Results").points < 25
    assert part(findings, "Action verbs").points < 15


def test_lix_is_what_its_formula_says() -> None:
    # 10 words in 2 sentences, 4 of them longer than six letters: 10/2 + 100*4/10 = 45.
    lines = [text.Line(1, "The children painted a house. They waited outside with teachers.", False)]
    measured = readability.measure(lines)
    assert measured is not None
    assert (measured.lix, measured.level, measured.words_per_sentence) == (45, "average", 5.0)


def test_worn_phrases_are_quoted() -> None:
    finding = part(report.check(cv("nurse")), "Wording").finding
    assert "“team player”" in finding


def test_an_advert_is_compared_by_its_skills() -> None:
    findings = report.check(cv("developer"), advert("developer"))
    assert {"Python", "SQL", "AWS", "Kafka", "Terraform", "unit testing", "Flask"} <= terms(findings, named=True)
    assert {"Kubernetes", "CI/CD", "observability", "PCI DSS"} <= terms(findings, named=False)


def test_what_the_employer_says_about_itself_is_no_keyword() -> None:
    findings = report.check(cv("developer"), advert("developer"))
    shown = " ".join(k.term.lower() for k in findings.keywords)
    for word in ("finwell", "london", "holiday", "pension", "conferences", "savings"):
        assert word not in shown


def test_musts_come_before_wishes() -> None:
    findings = report.check(cv("nurse"), advert("nurse"))
    wanted = {k.term: k.wanted for k in findings.keywords}
    assert wanted["wound care"] == "must"
    assert wanted["care plans"] == "wanted"
    assert wanted["palliative care"] == "plus"
    assert [k.wanted for k in findings.keywords] == sorted(wanted.values(), key=["must", "wanted", "plus"].index)


def test_another_name_of_a_skill_counts() -> None:
    findings = report.check(cv("developer").replace("Kafka", "k8s"), advert("developer"))
    assert "Kubernetes" in terms(findings, named=True)


def test_a_matching_cv_leaves_no_keyword_missing() -> None:
    missing = ", ".join(terms(report.check(cv("nurse"), advert("nurse")), named=False))
    findings = report.check(f"{cv('nurse')}\nSkills\n{missing}\n", advert("nurse"))
    assert terms(findings, named=False) == set()
    assert part(findings, "Keywords").points == 40


def test_the_title_is_the_name_and_not_the_word_cv() -> None:
    assert report.check(cv("nurse")).title == "Daniel Byrne"


@pytest.mark.parametrize(
    ("word", "verb"),
    [
        ("Led", "lead"),
        ("managing", "manage"),
        ("Planned", "plan"),
        ("ships", "ship"),
        ("studied", "study"),
        ("Table", None),
    ],
)
def test_verbs_are_known_in_all_their_forms(word: str, verb: str | None) -> None:
    assert vocabulary.base_form(word) == verb
