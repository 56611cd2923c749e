"""Which tests execute a line, found by coverage; the quickest come first."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from coverage import CoverageData

from tests.mutants.contexts import DURATIONS_VARIABLE

_FOLDERS = {
    "api": ["tests/api"],
    "worker": ["tests/worker", "tests/api"],
    "storage_backends": ["tests/storage_backends"],
}
#: Tests that start whole processes are too slow to run for each mutant, and coverage does not see into those.
_TOO_SLOW = (
    "tests/worker/test_processes.py", "tests/worker/test_flower_door.py", "tests/worker/test_redis_states.py",
    "tests/api/test_fuzz.py",
)  # fmt: skip
_SCRIPTS = "worker/store/scripts.py"
#: Of one parametrized test so many cases are tried, and of all tests as many as take so long (seconds).
_MOST_CASES, _MOST_S = 6, 30.0


@dataclass
class Coverage:
    """What a run of the tests has executed: by file and line, which tests; and how many seconds each took."""

    tests_by_line: dict[str, dict[int, set[str]]] = field(default_factory=dict)
    durations: dict[str, float] = field(default_factory=dict)

    def tests_of(self, file: str, lines: Iterable[int]) -> list[str]:
        """Tests that execute one of these lines; for what only imports execute, tests that execute anything there."""
        by_line = self.tests_by_line.get(file, {})
        executed = [by_line[line] for line in lines if line in by_line]
        found = set().union(*executed) or (set().union(*by_line.values()) if executed else set())
        return self._quickest(found)

    def tests_of_script(self, top: Path, name: str) -> list[str]:
        """Tests that run a Lua script, or, for a file of functions, any script."""
        lines = (top / _SCRIPTS).read_text().splitlines()
        calling = re.compile(rf'"{name}"' if not name.endswith("functions") else r"self\._run")
        # The call may begin in the line before its first argument.
        numbers = [number for number, line in enumerate(lines, 1) if calling.search(line)]
        return self.tests_of(_SCRIPTS, [each for number in numbers for each in (number - 1, number)])

    def _quickest(self, found: set[str]) -> list[str]:
        by_function: dict[str, list[str]] = defaultdict(list)
        for test in sorted(found, key=lambda test: self.durations.get(test, 0)):
            by_function[test.partition("[")[0]].append(test)
        kept = [test for cases in by_function.values() for test in cases[:_MOST_CASES]]
        chosen: list[str] = []
        seconds = 0.0
        for test in sorted(kept, key=lambda test: self.durations.get(test, 0)):
            seconds += self.durations.get(test, 0)
            if chosen and seconds > _MOST_S:
                break
            chosen.append(test)
        return chosen


def measure(top: Path, target: str, folder: Path, tests: Iterable[str]) -> Coverage:
    """Run the tests of the target's package (or ``tests``) once, in the checkout ``top``; keep what is measured."""
    folder.mkdir(parents=True, exist_ok=True)
    data_file, durations = folder / "coverage", folder / "durations.json"
    package = target.partition("/")[0]
    command = [
        sys.executable, "-m", "coverage", "run", f"--data-file={data_file}", f"--source={package}", "-m", "pytest",
        "-q", "-p", "no:cacheprovider", "-p", "tests.mutants.contexts", "-m", "not bench and not chaos",
        *(f"--ignore={path}" for path in _TOO_SLOW), *(tests or _FOLDERS[package]),
    ]  # fmt: skip
    data_file.unlink(missing_ok=True)
    environment = {**os.environ, DURATIONS_VARIABLE: str(durations)}
    subprocess.run(command, cwd=top, env=environment, check=False, stdout=subprocess.DEVNULL, timeout=1800)
    return read(top, folder)


def read(top: Path, folder: Path) -> Coverage:
    """What an earlier run has measured."""
    data = CoverageData(str(folder / "coverage"))
    data.read()
    found = Coverage(durations=json.loads((folder / "durations.json").read_text()))
    for name in data.measured_files():
        lines = data.contexts_by_lineno(name)
        tests = {line: {context for context in contexts if context} for line, contexts in lines.items()}
        found.tests_by_line[str(Path(name).relative_to(top))] = tests
    return found
