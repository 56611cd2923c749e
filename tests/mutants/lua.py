"""Mutants of the Lua scripts: conditions negated or cut, lines dropped, comparisons and numbers off by one."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.mutants.python import Edit

_CONDITION = re.compile(r"^(.*?\b(?:else)?if )(.+?)( then.*)$")
_LINE_OF_ITS_OWN = re.compile(r"^(?!\s*local )\s*(redis\.call\(|[a-z_]+\(|[\w.\[\]# +]+ = |if .* end$)")
_SWAPS = (
    (" < ", " <= "), (" <= ", " < "), (" > ", " >= "), (" >= ", " > "), (" == ", " ~= "), (" ~= ", " == "),
    (" and ", " or "), (" or ", " and "), (" + ", " - "), (" - ", " + "), ("math.min", "math.max"),
    ("math.max", "math.min"), ("true", "false"), ("false", "true"), ("not ", ""), ("'NX', ", ""),
    (" + 1", ""), (" - 1", ""), (", 0", ", 1"), (", 1", ", 2"), ("'1'", "'0'"), ("'0'", "'1'"), ("'('", "''"),
)  # fmt: skip
_TERM = re.compile(r" (?:and|or) ")
_TWO_ARGUMENTS = re.compile(r"([a-z_]+\((?:[\w.\[\]]+, )*?)([\w.\[\]]+), ([\w.\[\]]+)(?=[,)])")


def mutants(source: str) -> Iterator[Edit]:
    """Every mutant of a script, in the order of its lines."""
    for number, line in enumerate(source.splitlines(), 1):
        for text in dict.fromkeys(_changed(line)):
            yield Edit(number, 0, number, len(line.encode()), text)


def _changed(line: str) -> Iterator[str]:
    code = line.partition(" -- ")[0]
    if not code.strip() or code.lstrip().startswith("--"):
        return
    condition = _CONDITION.match(code)
    if condition:
        yield from _conditions(condition[1], condition[2], condition[3])
    yield from (code.replace(old, new, 1) for old, new in _SWAPS if old in code)
    yield from (code[: each.start()] + code[each.end() :] for each in re.finditer(r" [-+] \d+", code))
    if not code.lstrip().startswith(("local function", "function")):
        yield from (
            f"{code[: each.start()]}{each[1]}{each[3]}, {each[2]}{code[each.end() :]}"
            for each in _TWO_ARGUMENTS.finditer(code)
            if each[1] not in ("max(", "min(")
        )
    if _LINE_OF_ITS_OWN.match(code) and all(code.count(one) == code.count(other) for one, other in ("()", "{}")):
        yield ""


def _conditions(before: str, condition: str, after: str) -> Iterator[str]:
    """Negated, and with each of its terms left out."""
    yield f"{before}not ({condition}){after}"
    terms, words = _TERM.split(condition), _TERM.findall(condition)
    if "(" in condition and any(term.count("(") != term.count(")") for term in terms):
        return
    for place in range(len(terms) if words else 0):
        rest = [*terms[:place], *terms[place + 1 :]]
        links = [*words[:place], *words[place + 1 :]] if place < len(words) else words[:-1]
        joined = rest[0] + "".join(link + term for link, term in zip(links, rest[1:], strict=True))
        yield f"{before}{joined}{after}"
