"""Which tests execute a line, as `measuring` has found.

Of a line that many tests execute, those come first that execute what few others do of the same file, and are quick:
they are about this file.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cached_property
from pathlib import Path

from coverage import CoverageData

from tests.mutants.measuring import digest

#: Of one parametrized test so many cases are tried, and of all tests as many as take so long (seconds).
_MOST_CASES, _MOST_S = 6, 15.0
#: What a test takes at least, with all that is around it (seconds).
_LEAST_S = 0.02


class Measurement:
    """One run of some files of tests, with the code as it was then."""

    def __init__(self, folder: Path) -> None:
        notes = json.loads((folder / "notes.json").read_text())
        self.folder = folder
        self.seconds: dict[str, float] = notes["seconds"]
        self.files: dict[str, str] = json.loads((folder / "files.json").read_text())
        self._lua: dict[str, list[str]] = notes["lua"]

    @cached_property
    def _coverage(self) -> CoverageData:
        data = CoverageData(str(self.folder / "coverage"))
        data.read()
        return data

    @cached_property
    def _lua_lines(self) -> dict[str, dict[int, set[str]]]:
        found: dict[str, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
        for test, lines in self._lua.items():
            for script, _, line in (each.rpartition(":") for each in lines):
                found[script][int(line)].add(test)
        return found

    def executed_by(self, file: str) -> dict[int, set[str]]:
        """Tests that executed each line of a file, by its lines then."""
        if file.endswith(".lua"):
            return self._lua_lines[Path(file).stem]
        by_line = self._coverage.contexts_by_lineno(str(Path((self.folder / "top").read_text()) / file))
        return {line: {context for context in contexts if context} for line, contexts in by_line.items()}

    def source(self, file: str) -> list[str]:
        """The lines of a file then."""
        path = self.folder / "sources" / file
        return path.read_text().splitlines() if path.exists() else []


@dataclass
class Coverage:
    """Which tests execute what: the newest measurement of each file of tests counts."""

    top: Path
    measurements: Sequence[Measurement]

    def unknown(self, files: Iterable[str]) -> list[str]:
        """Files of tests that have changed since they were measured, or never were."""
        known = {file: sha for measurement in self.measurements for file, sha in measurement.files.items()}
        return [file for file in files if known.get(file) != digest(self.top / file)]

    def executed_by(self, file: str) -> dict[int, list[str]]:
        """Tests that execute each line of a file (of a line that only imports execute: all that execute any)."""
        found: dict[int, set[str]] = defaultdict(set)
        lines = (self.top / file).read_text().splitlines()
        for measurement in self.measurements:
            by_line = measurement.executed_by(file)
            for now, then in _same_lines(lines, measurement.source(file)):
                found[now] |= {test for test in by_line.get(then, ()) if self._counts(measurement, test)}
        everything = set().union(*found.values()) if found else set()
        if file.endswith(".lua"):
            self._fill_gaps(found, lines)
        worth = self._worth(found)
        return {number: self._chosen(found[number] or everything, worth) for number in range(1, len(lines) + 1)}

    def _worth(self, found: Mapping[int, set[str]]) -> dict[str, float]:
        """How rare the lines are that a test executes of a file, for each second that it takes."""
        rarity: dict[str, float] = defaultdict(float)
        for tests in found.values():
            for test in tests:
                rarity[test] += 1 / len(tests)
        return {test: rare / max(self._seconds[test], _LEAST_S) for test, rare in rarity.items()}

    @staticmethod
    def _fill_gaps(found: dict[int, set[str]], lines: Sequence[str]) -> None:
        """A line that begins no statement is executed with the one before it; an `elseif`, with its `if`."""
        ifs: dict[int, int] = {}
        for number, line in enumerate(lines, 1):
            indent = len(line) - len(line.lstrip())
            if line.lstrip().startswith("if "):
                ifs[indent] = number
            before = ifs.get(indent, number - 1) if line.lstrip().startswith("else") else number - 1
            found[number] = found[number] or found[before]

    @cached_property
    def _newest(self) -> dict[str, Measurement]:
        return {file: measurement for measurement in self.measurements for file in measurement.files}

    @cached_property
    def _seconds(self) -> dict[str, float]:
        return {
            test: seconds
            for measurement in self.measurements
            for test, seconds in measurement.seconds.items()
            if self._newest[test.partition("::")[0]] is measurement
        }

    def _counts(self, measurement: Measurement, test: str) -> bool:
        return self._newest.get(test.partition("::")[0]) is measurement and test in measurement.seconds

    def _chosen(self, found: set[str], worth: Mapping[str, float]) -> list[str]:
        ordered = sorted(found, key=lambda test: (-worth[test], test))
        by_function: Counter[str] = Counter()
        chosen: list[str] = []
        seconds = 0.0
        for test in ordered:
            by_function[test.partition("[")[0]] += 1
            is_one_more_case = by_function[test.partition("[")[0]] > _MOST_CASES
            if not is_one_more_case and (not chosen or seconds + self._seconds[test] <= _MOST_S):
                chosen.append(test)
                seconds += self._seconds[test]
        return chosen


def read(top: Path, store: Path) -> Coverage:
    """What all runs have measured, the newest last."""
    folders = sorted(path for path in store.iterdir()) if store.exists() else []
    return Coverage(top, [Measurement(folder) for folder in folders])


def _same_lines(now: Sequence[str], then: Sequence[str]) -> Iterable[tuple[int, int]]:
    """Pairs of line numbers: which line of a file was which; lines that were exchanged belong together."""
    for tag, now_from, now_to, then_from, then_to in SequenceMatcher(None, now, then, autojunk=False).get_opcodes():
        if tag == "equal":
            yield from zip(range(now_from + 1, now_to + 1), range(then_from + 1, then_to + 1), strict=True)
        else:
            yield from (
                (here, there) for here in range(now_from + 1, now_to + 1) for there in range(then_from + 1, then_to + 1)
            )
