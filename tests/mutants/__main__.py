"""Put small faults into one package or file, one at a time, and list those that no test notices.

``make mutants T=worker/execution`` or ``T=worker/store/lua``. Each fault is tried with tests that execute its line,
first those that are about its file. Which those are is measured once for each file of tests, and kept in
``build/mutants``. Faults that no test needs to notice are in ``accepted.toml``, with the reason.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.mutants import lua, measuring, python, selection
from tests.mutants.trial import Mutant, Outcome, named, outcomes

_TOP = Path(__file__).resolve().parents[2]
_STORE = _TOP / "build" / "mutants"
_ACCEPTED = Path(__file__).with_name("accepted.toml")
_REPORT_EVERY = 100


def main(argv: Sequence[str] | None = None) -> int:
    """Run, and return the exit status: 0 when every mutant was noticed or is accepted."""
    options = _parsed(argv)
    until = time.monotonic() + options.seconds
    coverage = selection.read(_TOP, _STORE)
    if not options.again:
        files = measuring.files_of_tests(_TOP, options.tests or measuring.FOLDERS[options.target.partition("/")[0]])
        unknown = coverage.unknown(files)
        print(f"{len(files)} files of tests, {len(unknown)} of them to be measured", flush=True)
        if unknown:
            measuring.measure(_TOP, _STORE, unknown, options.jobs)
            coverage = selection.read(_TOP, _STORE)
    if options.sample == 0:
        return 0
    chosen = _chosen(list(_mutants(options.target, coverage)), options)
    return _tried(chosen, options.jobs, until - time.monotonic())


def _tried(chosen: Sequence[Mutant], jobs: int, limit_s: float) -> int:
    accepted = tuple(entry["mutant"] for entry in tomllib.loads(_ACCEPTED.read_text())["accepted"])
    counted: Counter[str] = Counter()
    # A run that is ended early reports how far it came.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        for mutant, outcome in outcomes(_TOP, chosen, jobs, limit_s):
            is_accepted = outcome is Outcome.SURVIVED and mutant.name.startswith(accepted)
            counted["accepted" if is_accepted else outcome.value] += 1
            if outcome in (Outcome.SURVIVED, Outcome.TOO_SLOW) and not is_accepted:
                line, tests = mutant.edit.line, len(mutant.tests)
                print(f"{outcome.value.upper()} {mutant.name}  (line {line}, {tests} tests)", flush=True)
            if counted.total() % _REPORT_EVERY == 0:
                print(f"{counted.total()} of {len(chosen)}", flush=True)
    finally:
        words = [f"{count} {word}" for word, count in sorted(counted.items())]
        print(", ".join([f"{len(chosen)} mutants", *words]), flush=True)
    return 1 if counted["survived"] + counted["too slow"] else 0


def _chosen(mutants: list[Mutant], options: argparse.Namespace) -> list[Mutant]:
    """The sample in a random order; of several parts, one."""
    random.Random(options.seed).shuffle(mutants)
    part, _, parts = options.part.partition("/")
    chosen = mutants[: options.sample if options.sample > 0 else None][int(part) - 1 :: int(parts)]
    print(f"{len(mutants)} mutants, {len(chosen)} of them to be tried (seed {options.seed}, part {options.part})")
    return chosen


def _parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.mutants", description=__doc__)
    parser.add_argument("target", help="a package or file, such as worker/execution or worker/store/lua")
    parser.add_argument("--sample", type=int, default=100, help="how many at most (-1: all; 0: none, only measure)")
    parser.add_argument("--seed", type=int, default=0, help="which sample")
    parser.add_argument("--part", default="1/1", help="of a sample, the second of three parts: 2/3")
    parser.add_argument("--seconds", type=float, default=1e6, help="begin no trial after that")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time")
    parser.add_argument("--again", action="store_true", help="measure nothing, even if tests have changed")
    parser.add_argument("--tests", nargs="*", default=[], help="measure these tests only")
    return parser.parse_args(argv)


def _mutants(target: str, coverage: selection.Coverage) -> Iterator[Mutant]:
    path = _TOP / target
    files = sorted([*path.rglob("*.py"), *path.rglob("*.lua")]) if path.is_dir() else [path]
    for file in files:
        name, source = str(file.relative_to(_TOP)), file.read_text()
        edits = list((lua if file.suffix == ".lua" else python).mutants(source))
        tests = coverage.executed_by(name) if edits else {}
        # Named by the file as it is now: it may be edited while the mutants are tried.
        yield from (Mutant(name, edit, named(name, source, edit), _tests_of(edit, tests)) for edit in edits)


def _tests_of(edit: python.Edit, tests: dict[int, list[str]]) -> tuple[str, ...]:
    """Those of its lines, each once; those of the first line come first."""
    return tuple(dict.fromkeys(test for line in range(edit.line, edit.end_line + 1) for test in tests[line]))


if __name__ == "__main__":
    sys.exit(main())
