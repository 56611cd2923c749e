"""How the container of Redis starts: not while its disk is full, and not without a word."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.deploy.stack import ROOT

#: Says what is free, from a file: KiB.
_DF = """#!/bin/sh
echo 'Filesystem 1024-blocks Used Available Capacity Mounted'
echo "disk {size} 0 $(cat {free}) 0% /data"
"""


class Disk:
    """A disk of some size of which the test says how much is free."""

    def __init__(self, folder: Path, size_kib: int) -> None:
        self._free = folder / "free"
        program = folder / "df"
        program.write_text(_DF.format(size=size_kib, free=self._free), "utf-8")
        program.chmod(0o755)
        self._path = f"{folder}:{os.environ['PATH']}"

    def has(self, free_kib: int) -> None:
        new = self._free.with_suffix(".new")
        new.write_text(str(free_kib), "utf-8")
        new.replace(self._free)

    def start(
        self, retry_s: str = "0.05", command: Sequence[str] = ("echo", "started with", "two words")
    ) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["sh", ROOT / "deploy/redis/start.sh", *command],
            env={"PATH": self._path, "REDIS_RETRY_S": retry_s},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip


@pytest.mark.parametrize(("size_kib", "free_kib"), [(10_000_000, 65_536), (24_576, 1300)])
def test_with_enough_space_it_starts_at_once(tmp_path: Path, size_kib: int, free_kib: int) -> None:
    disk = Disk(tmp_path, size_kib)
    disk.has(free_kib)
    output, complaints = disk.start().communicate(timeout=20)
    assert (output, complaints) == ("started with two words\n", "")


@pytest.mark.parametrize(("size_kib", "free_kib"), [(10_000_000, 65_535), (24_576, 1000)])
def test_without_enough_space_it_waits_and_logs_that_once(tmp_path: Path, size_kib: int, free_kib: int) -> None:
    disk = Disk(tmp_path, size_kib)
    disk.has(free_kib)
    process = disk.start()
    assert process.stderr
    assert "disk of /data is full" in process.stderr.readline()
    assert process.poll() is None
    disk.has(70_000)
    output, more = process.communicate(timeout=20)
    assert (output, more) == ("started with two words\n", "")


def test_while_it_waits_it_handles_sigterm(tmp_path: Path) -> None:
    """Without a handler the first process of a container ignores it, until it is killed."""
    disk = Disk(tmp_path, 10_000_000)
    disk.has(0)
    process = disk.start()
    assert process.stderr
    assert "disk of /data is full" in process.stderr.readline()
    process.terminate()
    assert process.wait(timeout=20) == 143
    process.communicate()


def test_while_it_waits_it_logs_at_intervals(tmp_path: Path) -> None:
    """Whoever looks at the log sees it at its end."""
    disk = Disk(tmp_path, 10_000_000)
    disk.has(0)
    process = disk.start(retry_s="0")
    assert process.stderr
    assert [process.stderr.readline().split(" (")[0] for _ in range(2)] == [
        "Redis does not start: the disk of /data is full"
    ] * 2
    disk.has(70_000)
    assert process.communicate(timeout=20)[0] == "started with two words\n"


def test_the_start_of_the_image_itself_is_used(tmp_path: Path) -> None:
    """It gives the data to the server's user, and becomes that user."""
    disk = Disk(tmp_path, 10_000_000)
    disk.has(70_000)
    program = tmp_path / "docker-entrypoint.sh"
    program.write_text('#!/bin/sh\necho "$$ as redis: $*"\n', "utf-8")
    program.chmod(0o755)
    process = disk.start()
    assert process.communicate(timeout=20) == (f"{process.pid} as redis: echo started with two words\n", "")


def test_the_server_takes_the_place_of_the_script(tmp_path: Path) -> None:
    """The signals of the container are its own then."""
    disk = Disk(tmp_path, 10_000_000)
    disk.has(70_000)
    process = disk.start(command=("sh", "-c", "echo $$"))
    assert process.communicate(timeout=20) == (f"{process.pid}\n", "")
