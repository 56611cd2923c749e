"""Lines of log that are written together."""

from __future__ import annotations

import errno
import io
import subprocess
import sys
import threading

import pytest

from api.http import buffered_lines
from api.http.buffered_lines import BufferedLines

_NEVER_S = 3600


class _File(io.BytesIO):
    """A file that counts its writes, and has an event for its flushes."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0
        self.flushed = threading.Event()

    def write(self, data) -> int:
        self.writes += 1
        return super().write(data)

    def flush(self) -> None:
        super().flush()
        self.flushed.set()


@pytest.fixture
def file():
    return _File()


def _log(lines: BufferedLines, *texts: bytes) -> None:
    for text in texts:
        assert lines.write(text) == len(text)
        lines.flush()


def test_a_line_is_written_and_flushed_soon(file):
    lines = BufferedLines(file, delay_s=0)
    for number in (b"1\n", b"2\n"):
        file.flushed.clear()
        _log(lines, number)
        assert file.flushed.wait(10)
    assert file.getvalue() == b"1\n2\n"


def test_lines_wait_and_are_written_together_in_their_order(file):
    lines = BufferedLines(file, delay_s=_NEVER_S)
    _log(lines, b"a\n", b"b\n", b"c\n")
    assert file.writes == 0
    lines.write_waiting()
    assert (file.getvalue(), file.writes, file.flushed.is_set()) == (b"a\nb\nc\n", 1, True)
    lines.write_waiting()
    assert file.writes == 1


def test_a_thread_that_fills_the_buffer_writes_it(file, monkeypatch):
    monkeypatch.setattr(buffered_lines, "_MAX_WAITING", 3)
    lines = BufferedLines(file, delay_s=_NEVER_S)
    _log(lines, b"a\n", b"b\n")
    assert file.writes == 0
    _log(lines, b"c\n")
    assert file.getvalue() == b"a\nb\nc\n"


@pytest.mark.parametrize("delay_s", [0, _NEVER_S])
def test_a_temporarily_full_disk_stops_no_thread(file, monkeypatch, delay_s):
    monkeypatch.setattr(buffered_lines, "_MAX_WAITING", 1 if delay_s else 3)
    lines = BufferedLines(file, delay_s=delay_s)
    tried = threading.Event()

    def refuse(_data):
        tried.set()
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(file, "write", refuse)
        _log(lines, b"lost\n")
        assert tried.wait(10)
    _log(lines, b"written\n")
    assert file.flushed.wait(10)
    assert file.getvalue() == b"written\n"


def test_a_line_that_comes_while_others_are_written_is_written_too(file, monkeypatch):
    lines, write = BufferedLines(file, delay_s=0), file.write
    last_written = threading.Event()

    def write_last(data):
        write(data)
        last_written.set()

    def write_and_log(data):
        monkeypatch.setattr(file, "write", write_last)
        _log(lines, b"2\n")
        write(data)

    monkeypatch.setattr(file, "write", write_and_log)
    _log(lines, b"1\n")
    assert last_written.wait(10)
    assert file.getvalue() == b"1\n2\n"


def test_one_thread_writes_at_a_time(file, monkeypatch):
    lines, write = BufferedLines(file, delay_s=_NEVER_S), file.write
    other = threading.Thread(target=lines.write_waiting)

    def write_beside_another(data):
        monkeypatch.setattr(file, "write", write)
        _log(lines, b"2\n")
        other.start()
        other.join(0.1)
        write(data)

    monkeypatch.setattr(file, "write", write_beside_another)
    _log(lines, b"1\n")
    lines.write_waiting()
    other.join(10)
    assert file.getvalue() == b"1\n2\n"


def test_no_line_is_lost_or_doubled_by_threads(file):
    lines = BufferedLines(file, delay_s=0)

    def log(thread: int) -> None:
        _log(lines, *(b"%d %d\n" % (thread, number) for number in range(500)))

    threads = [threading.Thread(target=log, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines.write_waiting()
    written = file.getvalue().splitlines()
    assert len(written) == len(set(written)) == 2000
    for number in range(4):
        numbers = [int(line.split()[1]) for line in written if line.startswith(b"%d " % number)]
        assert numbers == list(range(500))


_PROGRAM = """
import multiprocessing
import sys
from api.http.buffered_lines import BufferedLines

def log():
    lines = BufferedLines(sys.stderr.buffer, delay_s=3600)
    lines.write(b"last\\n")
    lines.flush()

{}
"""
_FORKED = """
from api.http.shutdown import at_end
at_end(lambda: None)  # of the parent, which is not the child's
child = multiprocessing.get_context("fork").Process(target=log)
child.start()
child.join()
"""


@pytest.mark.parametrize("how", ["log()", _FORKED], ids=["main", "forked"])
def test_buffered_lines_are_written_at_the_end_of_a_process(how):
    """Also in a process that multiprocessing has forked, as the server's are: it calls no functions of atexit."""
    program = _PROGRAM.replace("{}", how)
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=60)
    assert ended.stderr == b"last\n"


_FAILING = """
from api.http.shutdown import at_end
at_end(lambda: print("first"))
at_end(lambda: 1 / 0)
at_end(lambda: print("last"))
"""


def test_one_failing_callback_does_not_prevent_the_others():
    ended = subprocess.run([sys.executable, "-c", _FAILING], capture_output=True, check=True, timeout=60, text=True)
    assert ended.stdout.split() == ["last", "first"]
    assert "ZeroDivisionError" in ended.stderr
