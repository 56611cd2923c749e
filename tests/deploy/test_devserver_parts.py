"""Parts of the development server by themselves: its ports, its files, and what it may open."""

from __future__ import annotations

import os
import resource
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from deploy.dev import state, supervision
from deploy.dev.environment import Backends, Ports, service_environment
from deploy.dev.readiness import Waiting
from deploy.dev.state import ROOT, DevServerError, State, write_private
from deploy.dev.supervision import MARK


def test_no_two_of_its_ports_are_the_same() -> None:
    ports = {"SAPI_PORT": "8000", "SAPI_FLOWER_PORT": "8001", "SAPI_ADMIN_PORT": "8002"}
    assert Ports.chosen(ports).by_variable == {name: int(port) for name, port in ports.items()}
    for one in ports:
        for other in ports.keys() - {one}:
            with pytest.raises(DevServerError, match=f"are both {ports[other]}"):
                Ports.chosen(ports | {one: ports[other]})


@pytest.mark.parametrize("port", ["", "0"])
def test_there_is_no_admin_port_by_default(port: str) -> None:
    assert Ports.chosen({"SAPI_ADMIN_PORT": port}).admin == 0


def test_variables_set_by_the_developer_are_not_replaced() -> None:
    defaults = service_environment({}, Backends.read({}), "redis://r", "key", "http://flower")
    # These follow from what was checked and started.
    ours = {"SAPI_BACKENDS", "SAPI_REDIS_URL", "FLOWER_UNAUTHENTICATED_API", "PYTHONPATH", "PYTHONUNBUFFERED",
            "PYTHONUTF8", MARK}  # fmt: skip
    own = dict.fromkeys(defaults.keys() - ours, "own")
    assert {"SAPI_SECRET_KEY", "SAPI_STATE_DIR", "SAPI_DEBUG"} < own.keys()
    given = {**own, "SAPI_LOG_LEVEL": "DEBUG", "PYTHONPATH": "/plugins"}
    environment = service_environment(given, Backends.read(given), "redis://r", "key", "http://flower")
    assert {name: environment[name] for name in (*own, "SAPI_LOG_LEVEL")} == {**own, "SAPI_LOG_LEVEL": "DEBUG"}
    assert environment["PYTHONPATH"].split(os.pathsep) == [str(ROOT), "/plugins"]


def test_a_partial_file_of_a_killed_start_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    file.with_name("state.json.new").write_text("half")
    write_private(file, "whole")
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("whole", 0o600)
    assert list(tmp_path.iterdir()) == [file]


def test_a_socket_with_a_missing_folder_gets_another_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a start of the machine there may be nothing left of /tmp."""
    monkeypatch.setattr(state, "DEV_DIR", tmp_path)
    socket = State(0, "", "", str(tmp_path / "gone" / "supervisor.sock"))
    socket.settle_socket()
    assert Path(socket.socket).parent.is_dir()
    kept = socket.socket
    socket.settle_socket()
    assert socket.socket == kept


@pytest.mark.parametrize(
    ("environ", "cwd", "command", "is_ours"),
    [
        ("A=1\0MARK=DEV\0", "/", "python", True),
        # Of a folder whose name only begins so.
        ("MARK=DEV2\0", "/", "python", False),
        ("NOT_MARK=DEV\0", "/", "python", False),
        # Redis writes its title over its environment.
        ("", "DEV/redis", "redis-server 127.0.0.1:7001", True),
        ("", "DEV/redis", "redis-cli", False),
        ("", "DEV2/redis", "redis-server 127.0.0.1:7001", False),
    ],
)
def test_processes_of_other_checkouts_are_not_counted(
    environ: str, cwd: str, command: str, is_ours: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process, text = tmp_path / "1", str(state.DEV_DIR)
    process.mkdir()
    (process / "environ").write_text(
        environ.replace("MARK", MARK).replace("DEV\0", f"{text}\0").replace("DEV2", f"{text}2")
    )
    (process / "cwd").symlink_to(cwd.replace("DEV", text))
    (process / "cmdline").write_text(command)
    monkeypatch.setattr(supervision, "Path", lambda _proc: tmp_path)
    assert list(supervision.our_processes()) == ([1] if is_ours else [])


@pytest.mark.parametrize(("allowed", "asked_for"), [(1024, 1024), (10**6, 4096), (resource.RLIM_INFINITY, 4096)])
def test_the_limit_of_open_files_is_not_exceeded(allowed: int, asked_for: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, allowed))
    assert supervision._open_files() == asked_for


def _supervisor(**process: Any) -> Mock:
    return Mock(processes=lambda: [{"name": "api", "statename": "RUNNING", "start": 7, **process}])


def test_a_process_that_exits_repeatedly_is_not_waited_for() -> None:
    starts = count(1)
    supervisor = Mock(processes=lambda: [{"name": "api", "statename": "STARTING", "start": next(starts)}])
    with pytest.raises(DevServerError, match="api: does not stay up"):
        Waiting(supervisor, ["api"], lambda _: set()).run(20)
    with pytest.raises(DevServerError, match="api: does not stay up"):
        Waiting(_supervisor(statename="FATAL"), ["api"], lambda _: set()).run(20)


def test_a_process_that_was_started_once_is_waited_for() -> None:
    looks = count()
    Waiting(_supervisor(), ["api"], lambda names: names if next(looks) >= 1 else set()).run(20)
    assert next(looks) == 2
    with pytest.raises(DevServerError, match="api: not ready after 0 s"):
        Waiting(_supervisor(start=0), ["api"], lambda _: set()).run(0)
