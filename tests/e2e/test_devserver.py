"""The development server's own promises: it says in one line what is wrong, and leaves nothing running."""

from __future__ import annotations

import configparser
import contextlib
import fcntl
import json
import os
import signal
import socket
import time
from pathlib import Path

import pytest

from deploy.dev.devserver import DevServer, main
from deploy.dev.embedded_redis import EmbeddedRedis, free_port
from deploy.dev.environment import Backends, Ports, service_environment
from deploy.dev.private_environment import webhook_secrets
from deploy.dev.state import DevServerError, State, write_private
from tests.e2e.client import Client, Service
from tests.e2e.conftest import CALLBACK_SECRET, devserver
from tests.launcher import clean_environment


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The environment of a server of this test alone."""
    ports = {"SAPI_PORT": str(free_port()), "SAPI_FLOWER_PORT": str(free_port())}
    return clean_environment() | ports | {"SAPI_DEV_FOLDER": str(tmp_path / "dev")}


def _refused(environment: dict[str, str]) -> str:
    done = devserver("start", environment)
    assert done.returncode != 0
    output = (done.stdout + done.stderr).strip()
    assert len(output.splitlines()) == 1, output
    assert _running_in(environment["SAPI_DEV_FOLDER"]) == []
    return output


def _running_in(folder: str) -> list[str]:
    return [command for _, command in _processes() if folder in command]


@pytest.mark.parametrize(
    ("backends", "message"),
    [
        ("x🌈NoStorage", "NoStorage"),
        ("x🌈DummyStorage🌈volumes", "option"),
        ("x🌈DummyStorage🦄x🌈DummyStorage", "x"),
        ("", "SAPI_BACKENDS"),
        ("x🌈DummyStorage🌈volumes🌈many", "volumes"),
        ("jobs🌈DummyStorage", "jobs"),
    ],
)
def test_invalid_backends_are_reported(environment: dict[str, str], backends: str, message: str) -> None:
    assert message in _refused({**environment, "SAPI_BACKENDS": backends})


def test_options_of_backends_are_not_in_error_messages(environment: dict[str, str]) -> None:
    output = _refused({**environment, "SAPI_BACKENDS": "x🌈NetappStorage🌈password🌈s3cret:@;🌈username"})
    assert "s3cret" not in output


def test_credentials_of_filers_are_in_no_environment(tmp_path: Path) -> None:
    file = tmp_path / "backends.toml"
    options = 'username = "u"\nvserver = "v"\npassword = {env = "FILER_PASSWORD"}\n'
    file.write_text(f'[filer]\ndriver = "NetappStorage"\n{options}', "utf-8")
    environ = {"SAPI_BACKENDS_FILE": str(file), "FILER_PASSWORD": "s3cret", "PATH": "/bin"}
    environment = service_environment(environ, Backends.read(environ), "redis://r", "key", "http://flower")
    assert (environment["SAPI_BACKENDS"], environment["PATH"]) == ("filer🌈NetappStorage", "/bin")
    assert not {"FILER_PASSWORD", "SAPI_BACKENDS_FILE"} & environment.keys()


def test_secrets_of_webhooks_are_for_their_process_only(tmp_path: Path) -> None:
    file = tmp_path / "webhooks.toml"
    file.write_text('[one]\nsecret = {env = "HOOK"}\n[two]\nsecret = {file = "two"}\n', "utf-8")
    secrets = {"SAPI_CALLBACK_SECRET": "a", "HOOK": "b"}
    assert webhook_secrets({**secrets, "SAPI_WEBHOOKS_FILE": str(file), "PATH": "/bin"}) == secrets
    assert webhook_secrets({"PATH": "/bin"}) == {}


def test_secrets_of_webhooks_are_in_no_other_environment(service: Service) -> None:
    ours = [pid for pid, _ in _processes() if _is_of(pid, service.folder)]
    environments = [Path(f"/proc/{pid}/environ").read_bytes() for pid in ours]
    assert len(environments) >= 5
    assert not [each for each in environments if CALLBACK_SECRET.encode() in each]
    private = service.folder / "webhook-secrets.json"
    assert json.loads(private.read_text("utf-8")) == {"SAPI_CALLBACK_SECRET": CALLBACK_SECRET}
    assert private.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("variable", "is_sent"), [("SAPI_WEBHOOKS_FILE", True), ("SAPI_CALLBACK_HOSTS", True), ("SAPI_PORT", False)]
)
def test_webhooks_are_sent_where_there_may_be_receivers(variable: str, is_sent: bool) -> None:
    assert _server({variable: "8000"}).sends_webhooks is is_sent


def test_redis_keeps_its_port_unless_that_is_in_use() -> None:
    """What runs outside and remembers the address finds it again."""
    server = _server({}, redis_port=(port := free_port()))
    redis = server.embedded_redis()
    assert redis is not None
    assert (redis.port, redis.password) == (port, "of the last time")
    with socket.create_server(("127.0.0.1", port)):
        elsewhere = server.embedded_redis()
    assert elsewhere is not None
    assert elsewhere.port not in (0, port)
    assert server.state.redis_port == elsewhere.port


def _server(environ: dict[str, str], redis_port: int = 0) -> DevServer:
    state = State(redis_port, "of the last time", "key", "")
    return DevServer(Ports.chosen(environ), Backends.read({}), environ, state)


def test_a_start_during_another_is_refused(environment: dict[str, str]) -> None:
    folder = Path(environment["SAPI_DEV_FOLDER"])
    folder.mkdir()
    with (folder / "lock").open("w") as lock:
        # Shared, so that a lock that is no exclusive one is noticed.
        fcntl.flock(lock, fcntl.LOCK_SH)
        assert "under way" in _refused(environment)


def test_redis_is_durable_and_listens_on_loopback_only(tmp_path: Path) -> None:
    server = EmbeddedRedis("redis-server", tmp_path / "redis", 7001, "s3cret")
    server.write_config()
    lines = server.config_file.read_text("utf-8").splitlines()
    expected = {"bind 127.0.0.1", "port 7001", "requirepass s3cret", "appendonly yes", "appendfsync always"}
    assert expected | {"maxmemory-policy noeviction"} <= set(lines)
    assert server.config_file.stat().st_mode & 0o777 == 0o600


def test_a_private_file_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    for text in ("one", "two"):
        write_private(file, text)
        assert (file.read_text("utf-8"), file.stat().st_mode & 0o777) == (text, 0o600)
    assert list(tmp_path.iterdir()) == [file]


def test_a_port_in_use_is_reported(environment: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", int(environment["SAPI_PORT"]))):
        assert environment["SAPI_PORT"] in _refused(environment)


def test_an_invalid_setting_is_reported(environment: dict[str, str]) -> None:
    assert "SAPI_CACHE_FRESH" in _refused({**environment, "SAPI_CACHE_FRESH": "soon"})


def test_starting_twice_is_refused(service: Service) -> None:
    port = service.url.rsplit(":", 1)[1]
    again = devserver("start", {**os.environ, "SAPI_DEV_FOLDER": str(service.folder), "SAPI_PORT": port})
    assert again.returncode != 0
    assert len((again.stdout + again.stderr).strip().splitlines()) == 1
    assert Client(service.url).get("/readyz").status_code == 200


def test_killed_processes_are_restarted_and_no_job_is_lost(http: Client, service: Service, name: str) -> None:
    """Every process of the service is killed in turn; the job that was accepted ends, and what it made is there."""
    job = http.submit("POST", f"/v4/slow/volumes/{name}", {})
    pids = [pid for pid, line in _processes() if "worker.main" in line and _is_of(pid, service.folder)]
    pids += [pid for pid, line in _processes() if "-server" in line and _is_of(pid, service.folder)]
    assert len(pids) == 3
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    until = time.monotonic() + 60
    while time.monotonic() < until:
        answer = http.get(f"/v4/jobs/{job['id']}", headers={"Prefer": "wait=5"})
        if answer.status_code == 200 and answer.json()["done"]:
            break
        assert answer.status_code in (200, 503), answer.text
        time.sleep(0.1)
    ended = http.ended(job["id"])
    there = http.get(f"/v4/slow/volumes/{name}", headers={"Cache-Control": "no-cache", "Prefer": "wait=20"})
    assert (ended["state"], there.status_code) in (("succeeded", 200), ("failed", 404))
    if ended["state"] == "failed":
        assert ended["error"]["code"] == "worker-lost"


def test_processes_that_exit_are_restarted(service: Service) -> None:
    """A worker that hangs ends with exit status 0, so that it is started again: not only unexpected ends count."""
    config = configparser.ConfigParser(interpolation=None)
    config.read(service.folder / "supervisord.conf")
    restarts = {name: config[name]["autorestart"] for name in config.sections() if name.startswith("program:")}
    assert len(restarts) >= 5
    assert set(restarts.values()) == {"true"}


def test_all_written_files_are_readable_by_their_owner_only(service: Service) -> None:
    """Logs name volumes and users, and the dummy's files are what a filer holds."""
    written = [service.folder, *service.folder.rglob("*")]
    assert {"api.log", "audit.log", "redis", "state", "health"} <= {path.name for path in written}
    # These two hold nothing of the sort, and are in folders that are closed.
    others = {path.name for path in written if path.lstat().st_mode & 0o077 and not path.is_symlink()}
    assert others <= {"lock", "supervisord.log"}


@pytest.mark.parametrize(("raised", "status"), [(None, 0), (DevServerError("no"), 1), (KeyboardInterrupt(), 130)])
def test_exit_statuses(monkeypatch: pytest.MonkeyPatch, raised: BaseException | None, status: int) -> None:
    def start() -> None:
        if raised:
            raise raised

    monkeypatch.setattr("deploy.dev.devserver.start", start)
    assert main(["start"]) == status
    assert [main(words) for words in ([], ["begin"], ["start", "worker1"], ["drain"])] == [2, 2, 2, 2]


def _processes() -> list[tuple[int, str]]:
    """The number and the command of each process of this machine."""
    commands = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # It has ended meanwhile.
            commands.append((int(path.parent.name), path.read_text(errors="replace").replace("\0", " ")))
    return commands


def _is_of(pid: int, folder: Path) -> bool:
    """Is the process one of the service in ``folder``?"""
    try:
        kept = Path(f"/proc/{pid}/environ").read_bytes() + os.fsencode(Path(f"/proc/{pid}/cwd").readlink())
    except OSError:
        return False
    return os.fsencode(folder) in kept
