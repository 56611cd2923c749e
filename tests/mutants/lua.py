"""Mutants of the Lua scripts: conditions negated, calls dropped, comparisons and numbers off by one."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_ACCEPTED = Path(__file__).with_name("accepted.toml")
_NOT_COPIED = (".git", ".dev", "build", "dist", ".hypothesis", ".mypy_cache", ".ruff_cache", "__pycache__")
#: Where the scripts' promises are tested on a real Redis.
_TESTS = [
    "tests/worker/test_promises.py", "tests/worker/test_execution_outcomes.py", "tests/worker/test_crash_points.py",
    "tests/worker/test_scripts.py", "tests/worker/test_listings.py", "tests/api/test_jobs.py",
    "tests/api/test_waits.py", "tests/api/reads", "tests/worker/test_model.py::test_the_scripts_do_as_the_model",
]  # fmt: skip
_TIMEOUT_S = 180
_CONDITION = re.compile(r"^(\s*(?:else)?if )(.+?)( then.*)$")
_DROPPED = re.compile(r"^\s*(redis\.call\(|[a-z_]+\()")
_SWAPS = {
    " < ": " <= ", " <= ": " < ", " > ": " >= ", " >= ": " > ", " == ": " ~= ", " ~= ": " == ", " and ": " or ",
    " + 1": "",
}  # fmt: skip


class Mutant(NamedTuple):
    """One fault: in which script, in which line (from 0), and what stands there instead."""

    script: Path
    line: int
    text: str


def main(top: Path, target: Path, sample: int, seed: int) -> int:
    """Try mutants in a copy of the checkout, print those that survive, and return the exit status."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "checkout"
        shutil.copytree(top, copy, symlinks=True, ignore=shutil.ignore_patterns(*_NOT_COPIED))
        scripts = [copy / target.relative_to(top)]
        if target.is_dir():
            scripts = sorted(scripts[0].glob("*.lua"))
        found = [Mutant(script, *each) for script in scripts for each in mutants(script.read_text())]
        chosen = found if not sample or sample >= len(found) else random.Random(seed).sample(found, sample)
        survived = [_name(copy, each) for each in chosen if not _is_noticed(copy, each)]
    accepted = [entry["mutant"] for entry in tomllib.loads(_ACCEPTED.read_text())["accepted"]]
    new = [each for each in survived if not each.startswith(tuple(accepted))]
    for each in new:
        print(f"SURVIVED {each}")
    print(f"{len(chosen)} mutants, {len(chosen) - len(survived)} noticed, {len(survived) - len(new)} accepted")
    return 1 if new else 0


def mutants(source: str) -> Iterator[tuple[int, str]]:
    """Every mutant of a script: the line's number (from 0), and what stands there instead."""
    for number, line in enumerate(source.splitlines()):
        if line.lstrip().startswith("--"):
            continue
        condition = _CONDITION.match(line)
        if condition:
            yield number, f"{condition[1]}not ({condition[2]}){condition[3]}"
        yield from ((number, line.replace(old, new, 1)) for old, new in _SWAPS.items() if old in line)
        if _DROPPED.match(line) and line.count("(") == line.count(")"):
            yield number, ""


def _is_noticed(copy: Path, mutant: Mutant) -> bool:
    source = mutant.script.read_text()
    lines = source.splitlines()
    lines[mutant.line] = mutant.text
    mutant.script.write_text("\n".join(lines) + "\n")
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--timeout=60", *_TESTS]
    try:
        run = subprocess.run(command, cwd=copy, check=False, stdout=subprocess.DEVNULL, timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return True
    finally:
        mutant.script.write_text(source)
    return run.returncode != 0


def _name(copy: Path, mutant: Mutant) -> str:
    line = mutant.script.read_text().splitlines()[mutant.line].strip()
    return f"{mutant.script.relative_to(copy)} {line} -> {mutant.text.strip() or '(dropped)'}"
