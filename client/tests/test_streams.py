"""Standard streams that are closed, without a reader, or whose encoding lacks characters; and signals."""

from __future__ import annotations

import errno
import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import click
import pytest
import yaml

from storage_api_client.cli import program
from storage_api_client.cli.exit_status import ExitStatus
from storage_api_client.cli.main import main
from storage_api_client.cli.output import write
from storage_api_client.cli.program import _status_without_readers
from storage_api_client.cli.state import Stop
from storage_api_client.cli.streams import is_unicode, prepare_streams
from storage_api_client.errors import NotFound
from storage_api_client.models import Problem


def _run_program(*words: str, **streams: Any) -> subprocess.CompletedProcess[str]:
    """Run the program, buffered as outside of tests."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    program = [str(Path(sys.executable).with_name("storage-api")), *words]
    return subprocess.run(program, env=environment, text=True, check=False, timeout=60, **streams)


@contextmanager
def _pipe_without_reader() -> Iterator[int]:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        yield writer
    finally:
        os.close(writer)


def test_the_exit_status_is_right_also_without_stderr() -> None:
    with _pipe_without_reader() as closed:
        ended = _run_program("--url", "ftp://nowhere", "volume", "list", "dummy", stdout=subprocess.PIPE, stderr=closed)
        assert (ended.returncode, ended.stdout) == (ExitStatus.USAGE, "")
        assert _run_program("volume", "list", stderr=closed).returncode == ExitStatus.USAGE


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_messages_for_which_there_is_no_space_change_no_status() -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        assert _run_program("--url", "ftp://nowhere", "volume", "list", "s", stderr=full).returncode == ExitStatus.USAGE
        assert _run_program("volume", "list", stderr=full).returncode == ExitStatus.USAGE


@pytest.mark.parametrize("columns", [0, 40, 60, 80, 120])
def test_names_and_sizes_are_not_truncated_in_a_narrow_terminal(columns: int, monkeypatch: Any) -> None:
    output, name = io.StringIO(), "orders_of_2026_db01"
    monkeypatch.setattr(output, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdout", output)
    monkeypatch.setenv("COLUMNS", str(columns))
    row = {"name": name, "state": "online", "size_total": 2**30, "junction_path": f"/{name}", "comment": "x" * 99}
    write([row], tuple(row), "table")
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in output.getvalue().splitlines()]
    assert [line.split()[0] for line in lines] == ["NAME", name]
    assert "1.00 GiB" in lines[1]
    assert max(map(len, lines)) <= max(columns, 40)


def test_closed_streams_are_no_error() -> None:
    for closed in (0, 1, 2):
        ended = _run_program("completion", "bash", preexec_fn=partial(os.close, closed), stderr=subprocess.PIPE)
        assert (ended.returncode, ended.stderr) == (ExitStatus.DONE, "")


@pytest.mark.parametrize(
    ("before", "status"),
    [
        (None, ExitStatus.DONE),
        (Stop(ExitStatus.STILL_RUNNING), ExitStatus.STILL_RUNNING),
        (NotFound(Problem(code="no-such-job")), ExitStatus.NOT_FOUND),
    ],
)
def test_results_without_readers_change_no_status(before: Exception | None, status: ExitStatus) -> None:
    broken = BrokenPipeError()
    broken.__context__ = before
    assert _status_without_readers(broken) is status


@pytest.mark.parametrize("format_", ["json", "yaml", "csv", "table"])
def test_characters_missing_in_the_encoding_are_no_error(format_: str, monkeypatch: Any) -> None:
    output = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", output)
    prepare_streams()
    write([{"name": "db1", "comment": "caf\xe9 日本"}], ("name", "comment"), format_)
    output.flush()
    text = output.buffer.getvalue().decode("latin-1")
    if format_ in ("json", "yaml"):
        assert yaml.safe_load(text) == [{"name": "db1", "comment": "caf\xe9 日本"}]
    else:
        assert "caf\xe9 ??" in text


@pytest.mark.parametrize(
    ("encoding", "is_one"),
    [("utf-8", True), ("UTF-8", True), ("utf8", True), ("U8", True), ("utf-16", True), ("latin-1", False),
     ("ascii", False), (None, True)],
)  # fmt: skip
def test_an_encoding_of_unicode_is_known_by_each_of_its_names(encoding: str | None, is_one: bool) -> None:
    assert is_unicode(Mock(encoding=encoding)) is is_one


def test_sigterm_is_an_interrupt(monkeypatch: Any) -> None:
    def end_it(_arguments: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("it went on")

    monkeypatch.setattr(program, "run", end_it)
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as end:
        main([])
    assert (end.value.code, signal.getsignal(signal.SIGTERM)) == (ExitStatus.INTERRUPTED, handler)


def test_a_reader_that_closes_the_pipe_causes_no_error() -> None:
    with _pipe_without_reader() as closed:
        ended = _run_program("--help", stdout=closed, stderr=subprocess.PIPE)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_full_disk_while_rows_are_written_is_an_error(monkeypatch: Any, capsys: Any) -> None:
    """Of what is written without a message, the interpreter would find it out after the exit status."""
    full = io.StringIO()
    monkeypatch.setattr(full, "flush", Mock(side_effect=OSError(errno.ENOSPC, "No space left on device")))
    monkeypatch.setattr(sys, "stdout", full)
    monkeypatch.setattr(
        program, "command_line", lambda: click.Command("rows", callback=lambda: write([{"name": "db1"}], (), "csv"))
    )
    assert program.run([]) is ExitStatus.FAILED
    assert (full.getvalue(), capsys.readouterr().err) == ("name\ndb1\n", "storage-api: No space left on device\n")
