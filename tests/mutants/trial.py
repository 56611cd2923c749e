"""Tries mutants, several at a time: each process has a copy of the checkout, and forks for each run of pytest.

The fork has the libraries loaded already, and nothing of the code under test, so that a trial costs a second, not four.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from tests.mutants.measuring import copy
from tests.mutants.python import Edit, applied

_LOADED = (
    "pytest", "hypothesis", "flask_smorest", "celery", "kombu.transport.redis", "redis", "pydantic_settings",
    "structlog", "prometheus_client", "limits.storage", "joserfc.jwt", "requests", "pybreaker", "orjson",
    "schemathesis.pytest.plugin", "netapp_ontap.resources", "authlib.integrations.requests_client", "cryptography.x509",
)  # fmt: skip
_OURS = ("api", "worker", "storage_backends", "storage_api_client", "tests", "deploy", "conftest")
#: What is loaded already cannot be rewritten, and need not be.
_QUIET = "-Wignore::pytest.PytestAssertRewriteWarning"
#: How long one test, and all tests of one mutant, may take (seconds).
_TEST_LIMIT_S, _LIMIT_S = 30, 120.0
_copy: Path
_until: float


class Outcome(Enum):
    """How a trial ended."""

    NOTICED = "noticed"
    SURVIVED = "survived"
    #: The tests took too long, and they do without the mutant, too: the machine is busy.
    TOO_SLOW = "too slow"
    NOT_TRIED = "not tried"


class Mutant(NamedTuple):
    """One fault, what it is called, and the tests that may notice it."""

    file: str
    edit: Edit
    name: str
    tests: tuple[str, ...]


def named(file: str, source: str, edit: Edit) -> str:
    """File, the line as it is, and as it would be."""
    line = source.splitlines()[edit.line - 1]
    changed = applied(source, edit).splitlines()
    becomes = changed[edit.line - 1].strip() if edit.line <= len(changed) else ""
    return f"{file} {line.strip()} -> {becomes or '(dropped)'}"


def outcomes(top: Path, mutants: Sequence[Mutant], jobs: int, limit_s: float) -> Iterator[tuple[Mutant, Outcome]]:
    """Try every mutant, as long as ``limit_s`` is not over."""
    context = multiprocessing.get_context("fork")
    until = time.monotonic() + limit_s
    files = sorted({test.partition("::")[0] for mutant in mutants for test in mutant.tests})
    with tempfile.TemporaryDirectory() as folder, context.Pool(jobs, _prepare, (top, folder, until, files)) as pool:
        yield from pool.imap_unordered(_try, mutants)


def _prepare(top: Path, folder: str, until: float, files: Sequence[str]) -> None:
    """Make the copy of this process, which becomes its checkout; load the libraries."""
    global _copy, _until  # noqa: PLW0603 - one for each process of the pool
    _until = until
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _copy = Path(tempfile.mkdtemp(dir=folder)) / "checkout"
    copy(top, _copy)
    os.chdir(_copy)
    sys.path[:] = [str(_copy) if Path(path or ".").resolve() == top else path for path in sys.path]
    sys.path.insert(0, str(_copy / "client"))
    os.environ["PYTHONPATH"] = f"{_copy / 'client'}:{_copy}"
    for name in _LOADED:
        importlib.import_module(name)
    _compile(files)


def _compile(files: Sequence[str]) -> None:
    """Let Python and pytest write their bytecode beside the copy's files, which no trial does."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "--collect-only", "-p", "no:cacheprovider", *files]
    subprocess.run(command, env=environment, check=False, stdout=subprocess.DEVNULL, timeout=300)


def _try(mutant: Mutant) -> tuple[Mutant, Outcome]:
    # What no test executes, no test can notice.
    if not mutant.tests:
        return mutant, Outcome.SURVIVED
    if time.monotonic() > _until:
        return mutant, Outcome.NOT_TRIED
    file = _copy / mutant.file
    source, status = file.read_text(), file.stat()
    file.write_text(applied(source, mutant.edit))
    try:
        result = _run(mutant.tests)
    finally:
        file.write_text(source)
        # So that its bytecode is that of this file again.
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    return mutant, _judged(mutant, result)


class _Result(NamedTuple):
    """pytest's exit status, and the tests that took too long (if not each by itself: all)."""

    status: int
    slow: tuple[str, ...] = ()


def _judged(mutant: Mutant, result: _Result) -> Outcome:
    if result.status == 0:
        return Outcome.SURVIVED
    # A mutant that makes tests hang was noticed, unless they take as long without it.
    is_slow = bool(result.slow) and _run(result.slow).status != 0
    return Outcome.TOO_SLOW if is_slow else Outcome.NOTICED


def _run(tests: Sequence[str]) -> _Result:
    """Run tests in a fork of this process."""
    notes = _copy / ".slow_tests"
    notes.write_text("")
    process = os.fork()
    if process == 0:
        os.setsid()
        _run_here(tests, notes)
    until = time.monotonic() + _LIMIT_S
    while time.monotonic() < until:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return _Result(os.waitstatus_to_exitcode(status), tuple(notes.read_text().splitlines()))
        time.sleep(0.02)
    os.killpg(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return _Result(-1, tuple(tests))


class _SlowTests:
    """Notes which tests failed for taking too long."""

    def __init__(self, notes: Path) -> None:
        self._notes = notes

    def pytest_runtest_logreport(self, report: object) -> None:
        if "Timeout (>" in str(getattr(report, "longrepr", "")):
            self._notes.write_text(f"{getattr(report, 'nodeid', '')}\n")


def _run_here(tests: Sequence[str], notes: Path) -> None:
    """Run tests in this process, and end it."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(nowhere, descriptor)
    sys.dont_write_bytecode = True
    # A process of a pool may not start others, which some tests do: they would fail whatever the mutant.
    multiprocessing.current_process().daemon = False
    for name in [each for each in sys.modules if each.partition(".")[0] in _OURS]:
        del sys.modules[name]
    status = 3
    try:
        import pytest

        options = ["-x", "-q", "-p", "no:cacheprovider", f"--timeout={_TEST_LIMIT_S}", "--no-header", _QUIET]
        status = int(pytest.main([*options, *tests], plugins=[_SlowTests(notes)]))
    finally:
        os._exit(status)
