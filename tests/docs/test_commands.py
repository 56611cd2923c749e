"""Every command of the manual is run here, page by page, as a new user would: against a running service."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.dev.embedded_redis import free_port
from tests.docs.pages import PAGES, TOP, Block, blocks, strays

#: The command with which a page starts the service itself; the others that use the service find one running.
_STARTS = "make devserver"
_REASON = re.compile(r"not run here: \w+ \w.+")
_PROGRAMS = [page for page in PAGES if any(block.kind == "sh" and block.runs for block in blocks(page))]

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]


def _named(pages: list[Path]) -> list[object]:
    return [pytest.param(page, id=page.stem) for page in pages]


class Reader:
    """A user with a clone, a shell, and free ports."""

    def __init__(self, folder: Path, other: Reader | None = None) -> None:
        """``other``: another reader, whose service this one uses, too."""
        self.clone = folder / "clone"
        self.clone.mkdir()
        for path in TOP.iterdir():
            if path.name not in (".git", ".dev", "build"):
                (self.clone / path.name).symlink_to(path)
        # An answer of 400 or more is a failure, without a flag in each command of the manual.
        (folder / ".curlrc").write_text("fail-with-body\n")
        self.ports: dict[str, str] = other.ports if other else {"8000": str(free_port()), "5555": str(free_port())}
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SAPI_", "MAKE", "PYTEST_"))}
        self.environment: dict[str, str] = {
            **kept,
            "HOME": str(folder),
            "PATH": f"{TOP / '.venv' / 'bin'}:{kept['PATH']}",
            "SAPI_DEV_FOLDER": other.environment["SAPI_DEV_FOLDER"] if other else str(folder / "dev"),
            "SAPI_PORT": self.ports["8000"],
            "SAPI_FLOWER_PORT": self.ports["5555"],
        }

    def shell(self, script: str) -> subprocess.CompletedProcess[str]:
        """Type all of it into one shell, which ends at the first command that fails."""
        for documented, ours in self.ports.items():
            script = script.replace(f"127.0.0.1:{documented}", f"127.0.0.1:{ours}")
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.clone,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            check=False,
            capture_output=True,
            text=True,
            timeout=300,
        )

    def save(self, block: Block) -> None:
        """Save a program under its name."""
        text = block.text
        for documented, ours in self.ports.items():
            text = text.replace(f"127.0.0.1:{documented}", f"127.0.0.1:{ours}")
        (self.clone / block.file).write_text(text, encoding="utf-8")


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """A reader without a service."""
    reader = Reader(tmp_path)
    yield reader
    _succeed(reader.shell("make stop"))


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """A reader who runs a service for pages that need one."""
    reader = Reader(tmp_path_factory.mktemp("operator"))
    _succeed(reader.shell(_STARTS))
    yield reader
    _succeed(reader.shell("make stop"))


def _succeed(ended: subprocess.CompletedProcess[str]) -> None:
    assert ended.returncode == 0, f"{ended.stderr[-3000:]}\n{ended.stdout[-3000:]}"


def _typed(block: Block) -> str:
    """The commands of a block, distinguished from those of the others by a line before."""
    mark = f"echo {shlex.quote(f'-- {block.page.name}:{block.line}')} >&2\n"
    if not block.exit_status:
        return mark + block.text
    refused = f"[ $? -eq {block.exit_status} ] || {{ echo 'it does not end with {block.exit_status}' >&2; exit 1; }}"
    return f"{mark}set +e\n{block.text.rstrip()}\n{refused}\nset -e\n"


def _script(page: Path) -> str:
    return "".join(_typed(block) for block in blocks(page) if block.runs and block.kind == "sh")


def _finds_a_service(page: Path) -> bool:
    return _STARTS not in _script(page) and bool(re.search(r"127\.0\.0\.1|storage-api ", _script(page)))


def _follow(page: Path, reader: Reader) -> None:
    for block in blocks(page):
        if block.runs and block.kind == "python" and block.file:
            reader.save(block)
    _succeed(reader.shell(_script(page)))


@pytest.mark.parametrize("page", _named([page for page in _PROGRAMS if not _finds_a_service(page)]))
def test_every_command_works(page: Path, reader: Reader) -> None:
    _follow(page, reader)


@pytest.mark.parametrize("page", _named([page for page in _PROGRAMS if _finds_a_service(page)]))
def test_every_command_works_with_a_running_service(page: Path, operator: Reader, tmp_path: Path) -> None:
    _follow(page, Reader(tmp_path, operator))


@pytest.mark.parametrize("page", _named(PAGES))
def test_every_command_is_in_a_tested_block(page: Path) -> None:
    assert strays(page) == []


@pytest.mark.parametrize("page", _named(PAGES))
def test_blocks_that_are_not_run_have_a_reason(page: Path) -> None:
    for block in blocks(page):
        assert block.kind != "sh" or not block.note or block.exit_status or _REASON.fullmatch(block.note), block


def test_every_python_program_is_saved_or_not_run() -> None:
    programs = [block for page in PAGES for block in blocks(page) if block.kind == "python"]
    assert len(programs) >= 3
    assert [block for block in programs if block.runs and not block.file] == []
