"""The service as it ships, and the command line in a home of its own."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from tests.e2e.own_stack import LIST, PASSWORD, QUICK, USER, OwnStack, own_stack

from storage_api_client import Client
from storage_api_client.cli.main import main

# A shell starts what runs in the background with Ctrl-C ignored, and children would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

PROGRAM = Path(sys.executable).with_name("storage-api")
FILERS: dict[str, dict[str, object]] = {"dummy": {"snapshot_limit": 5}, "slow": {"volumes": 5, "latency_s": 1.5}}
#: As an API process is configured with them.
BACKENDS = "🦄".join(f"{filer}🌈DummyStorage" for filer in (*FILERS, "away"))


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnStack]:
    """Redis, API and workers; ``away`` is a filer that a file makes unreachable."""
    folder = tmp_path_factory.mktemp("stack")
    filers: dict[str, dict[str, object]] = {**FILERS, "away": {"away_file": folder / "away-is-away"}}
    (folder / "away-is-away").touch()
    with own_stack(folder, filers, QUICK, LIST, backend_patience=2, queue_limit=1000) as running:
        yield running


@pytest.fixture
def api(stack: OwnStack) -> Iterator[Client]:
    """A client with all roles."""
    with Client(stack.url, basic=(USER, PASSWORD), timeout=40) as client:
        yield client


@pytest.fixture
def name() -> str:
    """A name that no other test uses."""
    return f"t_{uuid.uuid4().hex[:12]}"


@pytest.fixture
def volume(api: Client, name: str) -> str:
    """A volume of this test alone, in ``dummy``."""
    return api.subsystem("dummy").volumes.create(name, size_total="1GiB").name


@dataclass
class Ended:
    """What a command did."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class CommandLine:
    """Runs commands, with a configuration folder of its own."""

    home: Path
    environment: dict[str, str] = field(default_factory=dict)

    def whole_environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("STORAGE_API", "SAPI_"))}
        return {
            **kept,
            "HOME": str(self.home),
            "XDG_CONFIG_HOME": str(self.home),
            "COLUMNS": "200",
            "SAPI_DEV_FOLDER": str(self.home),
            **self.environment,
        }

    def __call__(self, *words: str) -> Ended:
        """Run a command in this process, as the program does, without a terminal."""
        out, err = io.StringIO(), io.StringIO()
        with (
            mock.patch.dict(os.environ, self.whole_environment(), clear=True),
            mock.patch("sys.stdin", io.StringIO()),
            redirect_stdout(out),
            redirect_stderr(err),
            pytest.raises(SystemExit) as ended,
        ):
            main(words)
        assert isinstance(ended.value.code, int)
        assert "Traceback" not in err.getvalue(), err.getvalue()
        return Ended(ended.value.code, out.getvalue(), err.getvalue())

    def start(self, *words: str, **more: Any) -> subprocess.Popen[str]:
        """Start the program as a process, as a shell does."""
        return subprocess.Popen(
            [PROGRAM, *words],
            cwd=self.home,
            env=self.whole_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **more,
        )


@pytest.fixture
def bare(tmp_path: Path) -> CommandLine:
    """The command line, without any configuration."""
    return CommandLine(tmp_path)


@pytest.fixture
def cli(stack: OwnStack, bare: CommandLine) -> CommandLine:
    """The command line, signed in with all roles."""
    bare.environment = {"STORAGE_API_URL": stack.url, "STORAGE_API_PASSWORD": PASSWORD}
    signed_in = bare("login", "--basic", USER)
    assert signed_in.status == 0, signed_in.err
    return bare
