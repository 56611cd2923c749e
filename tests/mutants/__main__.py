"""Put small faults into one package or file, one at a time, and list those that no test notices.

``make mutants T=worker/execution`` or ``T=worker/store/lua``. Python is mutated by pytest-gremlins with the test files
that execute the target (found by coverage), the Lua scripts by `tests.mutants.lua`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.mutants import lua
from tests.mutants.selection import tests_that_touch

_TOP = Path(__file__).resolve().parents[2]


def main(argv: Sequence[str] | None = None) -> int:
    """Run, and return the exit status: 0 when every mutant was noticed or is accepted."""
    parser = argparse.ArgumentParser(prog="tests.mutants", description=__doc__)
    parser.add_argument("target", help="a package or file, such as worker/execution or worker/store/lua")
    parser.add_argument("--sample", type=int, default=60, help="Lua: how many mutants at most (0: all)")
    parser.add_argument("--seed", type=int, default=0, help="Lua: which sample")
    options = parser.parse_args(argv)
    target = _TOP / options.target
    if target.suffix == ".lua" or any(target.glob("*.lua")):
        return lua.main(_TOP, target, options.sample, options.seed)
    return _python(options.target)


def _python(target: str) -> int:
    tests = tests_that_touch(_TOP, target)
    if not tests:
        print(f"no test executes anything of {target}")
        return 1
    command = [
        sys.executable, "-m", "pytest", "--gremlins", f"--gremlin-targets={target}", "--gremlin-no-coverage-filter",
        "--gremlin-mutant-timeout=120", "-W", "default", "-q", "-x", "--timeout=60", *tests,
    ]  # fmt: skip
    return subprocess.run(command, cwd=_TOP, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
