"""Put small faults into one package or file, one at a time, and list those that no test notices.

``make mutants T=worker/execution`` or ``T=worker/store/lua``. Each fault is tried with the tests that execute its line
(found by coverage), the quickest first; a Lua script with those that run it. Faults that no test needs to notice are in
``accepted.toml``, with the reason.
"""

from __future__ import annotations

import argparse
import random
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.mutants import lua, python, selection
from tests.mutants.trial import Mutant, survivors

_TOP = Path(__file__).resolve().parents[2]
_ACCEPTED = Path(__file__).with_name("accepted.toml")


def main(argv: Sequence[str] | None = None) -> int:
    """Run, and return the exit status: 0 when every mutant was noticed or is accepted."""
    options = _parsed(argv)
    folder = _TOP / "build" / "mutants" / options.target.partition("/")[0]
    if options.again:
        coverage = selection.read(_TOP, folder)
    else:
        coverage = selection.measure(_TOP, options.target, folder, options.tests)
    found = list(_mutants(options.target, coverage))
    seed, sample = options.seed, options.sample
    chosen = found if not sample or sample >= len(found) else random.Random(seed).sample(found, sample)
    print(f"{len(found)} mutants, {len(chosen)} of them tried (seed {seed})", flush=True)
    accepted = tuple(entry["mutant"] for entry in tomllib.loads(_ACCEPTED.read_text())["accepted"])
    new = known = 0
    for mutant in survivors(_TOP, chosen, options.jobs):
        name = mutant.name((_TOP / mutant.file).read_text())
        if name.startswith(accepted):
            known += 1
            continue
        new += 1
        print(f"SURVIVED {name}  (line {mutant.edit.line}, {len(mutant.tests)} tests)", flush=True)
    print(f"{len(chosen)} mutants, {len(chosen) - new - known} noticed, {known} accepted, {new} survived")
    return 1 if new else 0


def _parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.mutants", description=__doc__)
    parser.add_argument("target", help="a package or file, such as worker/execution or worker/store/lua")
    parser.add_argument("--sample", type=int, default=100, help="how many mutants at most (0: all)")
    parser.add_argument("--seed", type=int, default=0, help="which sample")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time")
    parser.add_argument("--again", action="store_true", help="with the coverage that the last run has measured")
    parser.add_argument("--tests", nargs="*", default=[], help="measure these tests only")
    return parser.parse_args(argv)


def _mutants(target: str, coverage: selection.Coverage) -> Iterator[Mutant]:
    path = _TOP / target
    files = sorted([*path.rglob("*.py"), *path.rglob("*.lua")]) if path.is_dir() else [path]
    for file in files:
        name, source = str(file.relative_to(_TOP)), file.read_text()
        for edit in (lua if file.suffix == ".lua" else python).mutants(source):
            if file.suffix == ".lua":
                tests = coverage.tests_of_script(_TOP, file.stem)
            else:
                tests = coverage.tests_of(name, range(edit.line, edit.end_line + 1))
            yield Mutant(name, edit, tuple(tests))


if __name__ == "__main__":
    sys.exit(main())
