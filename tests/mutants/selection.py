"""Which test files execute a package, found by coverage."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from coverage import CoverageData

_FOLDERS = {
    "api": ["tests/api"],
    "worker": ["tests/worker", "tests/api"],
    "storage_backends": ["tests/storage_backends"],
}
#: Tests that start whole processes are too slow to run for each mutant.
_TOO_SLOW = ("tests/worker/test_processes.py", "tests/worker/test_flower_door.py", "tests/worker/test_model.py")


def tests_that_touch(top: Path, target: str) -> list[str]:
    """Return the test files that execute lines of ``target`` (a folder or file), relative to the checkout ``top``."""
    with tempfile.TemporaryDirectory() as folder:
        data_file = Path(folder) / "coverage"
        source = target if (top / target).is_dir() else str(Path(target).parent)
        command = [
            sys.executable, "-m", "coverage", "run", f"--data-file={data_file}", f"--source={source}",
            "--rcfile=tests/mutants/coverage.ini", "-m", "pytest", "-q", "-p", "no:cacheprovider",
            "-m", "not bench and not chaos", *(f"--ignore={path}" for path in _TOO_SLOW),
            *_FOLDERS[target.partition("/")[0]],
        ]  # fmt: skip
        subprocess.run(command, cwd=top, check=False, stdout=subprocess.DEVNULL, timeout=1800)
        data = CoverageData(str(data_file))
        data.read()
    contexts = {
        context
        for name in data.measured_files()
        if name.startswith(str(top / target))
        for each in data.contexts_by_lineno(name).values()
        for context in each
    }
    return sorted({path for context in contexts if (path := _file_of(top, context))})


def _file_of(top: Path, context: str) -> str:
    """The test file of a context such as ``tests.worker.test_x.test_y`` or ``tests.worker.test_x.TestZ.test_y``."""
    parts = context.split(".")
    for end in range(len(parts), 0, -1):
        path = Path(*parts[:end]).with_suffix(".py")
        if (top / path).is_file() and path.name.startswith("test_"):
            return str(path)
    return ""
