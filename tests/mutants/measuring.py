"""Runs tests once, and keeps which lines each of them executes: in `build/mutants`, for all later runs."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.mutants import lua_lines
from tests.mutants.contexts import NOTES_VARIABLE

#: What is measured, and may be mutated.
SOURCES = ("api", "worker", "storage_backends", "client/storage_api_client")
FOLDERS = {
    "api": ("tests/api",),
    "worker": ("tests/worker", "tests/api"),
    "storage_backends": ("tests/storage_backends",),
    "client": ("client/tests",),
}
#: Tests that start whole processes, or search for long, are too slow to run for each mutant, and coverage does not see
#: into processes.
_TOO_SLOW = (
    "tests/worker/test_processes.py", "tests/worker/flower/test_flower_access.py", "tests/worker/test_redis_states.py",
    "tests/worker/jobs/test_model.py", "tests/api/test_fuzz.py", "tests/api/console/test_browser.py",
    "tests/api/auth/test_browser.py",
)  # fmt: skip
_NOT_COPIED = (".git", ".venv", ".dev", "build", "dist", ".hypothesis", ".mypy_cache", ".ruff_cache", "__pycache__")
_FIRST_SCRIPT = "record_functions.lua"


def copy(top: Path, to: Path) -> None:
    """Copy a checkout, with a link to its environment."""
    shutil.copytree(top, to, symlinks=True, ignore=shutil.ignore_patterns(*_NOT_COPIED))
    (to / ".venv").symlink_to(top / ".venv")


def digest(file: Path) -> str:
    """What tells whether a file of tests has changed; empty where there is none."""
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else ""


def files_of_tests(top: Path, paths: Sequence[str]) -> list[str]:
    """Names of the files of tests below some folders, without those that are too slow."""
    files = [
        file for path in paths for file in ([top / path] if path.endswith(".py") else (top / path).rglob("test_*.py"))
    ]
    return sorted({str(file.relative_to(top)) for file in files} - set(_TOO_SLOW))


def measure(top: Path, store: Path, files: Sequence[str], jobs: int) -> None:
    """Run files of tests, several at a time, and keep what each test has executed, beside the code as it is now."""
    store.mkdir(parents=True, exist_ok=True)
    now = time.time_ns()
    parts = [files[number::jobs] for number in range(jobs) if files[number::jobs]]
    with ThreadPoolExecutor(jobs) as pool:
        for each in [pool.submit(_measure, top, store / f"{now}-{number}", part) for number, part in enumerate(parts)]:
            each.result()


def _measure(top: Path, kept: Path, files: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        checkout = Path(folder) / "checkout"
        copy(top, checkout)
        for script in (checkout / "worker/store/lua").glob("*.lua"):
            is_first = script.name == _FIRST_SCRIPT
            script.write_text(lua_lines.traced(script.stem, script.read_text(), is_first=is_first))
        made = Path(folder) / "kept"
        made.mkdir()
        _run(checkout, made, files)
        for source in SOURCES:
            shutil.copytree(top / source, made / "sources" / source, ignore=shutil.ignore_patterns(*_NOT_COPIED))
        # A file whose tests were not run, since the run broke off, is measured again the next time.
        tests = json.loads((made / "notes.json").read_text())["lua"]
        known = {test.partition("::")[0] for test in tests}
        (made / "files.json").write_text(json.dumps({file: digest(top / file) for file in files if file in known}))
        (made / "top").write_text(str(checkout))
        shutil.copytree(made, kept)


def _run(checkout: Path, made: Path, files: Sequence[str]) -> None:
    command = [
        sys.executable, "-m", "coverage", "run", f"--data-file={made / 'coverage'}", f"--source={','.join(SOURCES)}",
        "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "tests.mutants.contexts",
        "-m", "not bench and not chaos", *files,
    ]  # fmt: skip
    environment = {
        **os.environ, "PYTHONPATH": str(checkout / "client"), NOTES_VARIABLE: str(made / "notes.json"),
    }  # fmt: skip
    subprocess.run(command, cwd=checkout, env=environment, check=False, stdout=subprocess.DEVNULL, timeout=1800)
