"""Tries mutants, several at a time: each process has a copy of the checkout, and forks for each run of pytest.

The fork has the libraries loaded already, and nothing of the code under test, so that a trial costs a second, not four.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.mutants.python import Edit, applied

_NOT_COPIED = (".git", ".venv", ".dev", "build", "dist", ".hypothesis", ".mypy_cache", ".ruff_cache", "__pycache__")
_LOADED = (
    "pytest", "hypothesis", "flask_smorest", "celery", "kombu.transport.redis", "redis", "pydantic_settings",
    "structlog", "prometheus_client", "limits", "joserfc.jwt", "requests", "pybreaker", "orjson",
)  # fmt: skip
#: What is loaded already cannot be rewritten, and need not be.
_QUIET = "-Wignore::pytest.PytestAssertRewriteWarning"
#: How long one trial may take (seconds); a mutant that makes tests hang was noticed.
_LIMIT_S = 120.0
_copy: Path


class Mutant(NamedTuple):
    """One fault, and the tests that may notice it."""

    file: str
    edit: Edit
    tests: tuple[str, ...]

    def name(self, source: str) -> str:
        """File, the line as it is, and as it would be."""
        line = source.splitlines()[self.edit.line - 1]
        changed = applied(source, self.edit).splitlines()
        becomes = changed[self.edit.line - 1].strip() if self.edit.line <= len(changed) else ""
        return f"{self.file} {line.strip()} -> {becomes or '(dropped)'}"


def survivors(top: Path, mutants: Sequence[Mutant], jobs: int) -> Iterator[Mutant]:
    """Try every mutant; return those that no test notices."""
    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as folder, context.Pool(jobs, _prepare, (top, folder)) as pool:
        for mutant, is_noticed in pool.imap(_try, mutants):
            if not is_noticed:
                yield mutant


def _prepare(top: Path, folder: str) -> None:
    """Make the copy of this process, which becomes its checkout; load the libraries."""
    global _copy  # noqa: PLW0603 - one for each process of the pool
    _copy = Path(tempfile.mkdtemp(dir=folder)) / "checkout"
    shutil.copytree(top, _copy, symlinks=True, ignore=shutil.ignore_patterns(*_NOT_COPIED))
    (_copy / ".venv").symlink_to(top / ".venv")
    os.chdir(_copy)
    sys.path[:] = [str(_copy) if Path(path or ".").resolve() == top else path for path in sys.path]
    for name in _LOADED:
        importlib.import_module(name)


def _try(mutant: Mutant) -> tuple[Mutant, bool]:
    file = _copy / mutant.file
    source = file.read_text()
    file.write_text(applied(source, mutant.edit))
    try:
        # What no test executes, no test can notice.
        return mutant, bool(mutant.tests) and _run(mutant.tests) != 0
    finally:
        file.write_text(source)


def _run(tests: Sequence[str]) -> int:
    """Run tests in a fork of this process; return pytest's exit status, or -1 when that takes too long."""
    process = os.fork()
    if process == 0:
        os.setsid()
        _run_here(tests)
    until = time.monotonic() + _LIMIT_S
    while time.monotonic() < until:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.killpg(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return -1


def _run_here(tests: Sequence[str]) -> None:
    """Run tests in this process, and end it."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(nowhere, descriptor)
    sys.dont_write_bytecode = True
    for name in [
        each for each in sys.modules if each.partition(".")[0] in ("api", "worker", "storage_backends", "tests")
    ]:
        del sys.modules[name]
    status = 3
    try:
        import pytest

        options = ["-x", "-q", "-p", "no:cacheprovider", "--timeout=30", "--no-header", _QUIET]
        status = int(pytest.main([*options, *tests]))
    finally:
        os._exit(status)
