"""The review in the page on security: every entry is listed, and the files that it names exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text("utf-8")
#: The numbers of the requirements of levels 1 and 2.
REQUIREMENTS = (Path(__file__).parent / "asvs_level_2.txt").read_text("ascii").split()
STATES = {"holds", "partly", "no", "operator", "does not apply"}


def rows(heading: str) -> list[list[str]]:
    """The cells of a section's table, without its head."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


TOP_TEN = rows("OWASP API Security Top 10 (2023)")
ASVS = rows("OWASP ASVS 5.0, level 2")


def test_every_risk_of_the_top_ten_is_listed():
    assert [row[0].split()[0] for row in TOP_TEN] == [f"API{number}" for number in range(1, 11)]


def test_every_requirement_is_listed_once():
    numbers = [number for row in ASVS for number in row[0].split(", ")]
    assert len(numbers) == len(set(numbers))
    assert set(numbers) == set(REQUIREMENTS)


@pytest.mark.parametrize("row", TOP_TEN + ASVS, ids=lambda row: row[0])
def test_each_entry_names_its_code_and_tests(row: list[str]):
    _, state, how, enforced, tested = row
    assert state in STATES
    assert how
    assert (bool(enforced) and bool(tested)) or state not in ("holds", "partly")
    for path in re.findall(r"`([^`]+)`", f"{enforced} {tested}"):
        assert (ROOT / path).exists(), path
    assert all(path.startswith("tests/") for path in re.findall(r"`([^`]+)`", tested))


def test_the_front_end_starts_no_process_and_evaluates_nothing():
    sources = {path: path.read_text("utf-8") for path in (ROOT / "api").rglob("*.py")}
    assert len(sources) > 50
    modules = r"\b(subprocess|os\.system|os\.exec\w*|os\.spawn\w*|pickle|marshal|render_template_string)\b"
    wrong = re.compile(modules + r"|(?<![.\w])(eval|exec)\(")
    assert [path.name for path, text in sources.items() if wrong.search(text)] == []
