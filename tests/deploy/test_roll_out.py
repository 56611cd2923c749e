"""What `roll_out.sh` does, and says, on a Docker engine that is played: see `test_engine.py` for a real one."""

from __future__ import annotations

import fcntl
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.deploy.simulated_client import client_of
from tests.deploy.simulated_engine import DOCKERS_NAMES, SERVICES, Container, Engine, Image, address_of, built
from tests.deploy.stack import ROOT

RollOut = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def engine() -> Engine:
    """A stack of 0.1.0; 0.2.0 is there, too."""
    made = Engine("0.1.0")
    made.images |= {f"storage-api/{part}:0.2.0": Image("0.2.0") for part in ("api", "worker")}
    return made


@pytest.fixture
def begin(engine: Engine, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts the script, beside a docker-compose.yml that it locks."""
    script = tmp_path / "deploy" / "compose" / "roll_out.sh"
    script.parent.mkdir(parents=True)
    shutil.copy(ROOT / "deploy" / "compose" / "roll_out.sh", script)
    (tmp_path / "docker-compose.yml").touch()
    with client_of(engine, tmp_path) as environment:

        def begin(version: str, **settings: str) -> subprocess.Popen[str]:
            output = subprocess.PIPE
            return subprocess.Popen(
                [script, version], env=environment | settings, stdout=output, stderr=output, text=True
            )

        yield begin


@pytest.fixture
def roll_out(begin: Callable[..., subprocess.Popen[str]]) -> RollOut:
    """Runs the script to its end."""

    def run(version: str, **settings: str) -> subprocess.CompletedProcess[str]:
        with begin(version, **settings) as process:
            stdout, stderr = process.communicate(timeout=60)
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    return run


def test_an_upgrade_and_a_downgrade(engine: Engine, roll_out: RollOut) -> None:
    engine._create("worker", {}).state = "running/healthy/0"
    there = roll_out("0.2.0")
    assert there.returncode == 0, there.stdout + there.stderr
    assert set(engine.versions().values()) == {"0.2.0"}
    assert "SAPI_VERSION=0.2.0" in there.stdout.splitlines()
    assert there.stdout.rstrip().endswith("roll_out.sh 0.1.0")
    # What .env says then is what runs: the next `docker compose up` makes nothing anew.
    engine.dotenv["SAPI_VERSION"] = "0.2.0"
    back = roll_out("0.1.0")
    assert (back.returncode, set(engine.versions().values())) == (0, {"0.1.0"}), back.stdout + back.stderr
    # With `--scale`, there may be more than .env says.
    assert len(engine.versions()) == len(SERVICES) + 1
    assert engine.secrets[1] == "storage-api/worker:0.1.0"
    assert not built(engine.commands)
    assert engine.fewest["worker"] == engine.fewest["worker-list"] == 1
    # Two of them at a time would write one file.
    assert engine.fewest["flower"] == 0


@pytest.mark.parametrize(("published", "gap"), [("8000", True), ("8000-8001", False), ("", False)])
def test_a_front_end_without_a_published_port_leaves_no_gap(
    engine: Engine, roll_out: RollOut, published: str, gap: bool
) -> None:
    engine.published = published
    engine.proxy_updates = None if published else []
    done = roll_out("0.2.0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert ("no front end answers" in done.stdout) is gap
    assert (engine.fewest["api"] == 0) is gap
    # A new front end may record jobs that an old worker does not know.
    started = [words[-1] for words in engine.commands if "--scale" in words]
    assert max(started.index(name) for name in ("worker", "worker-list")) < started.index("api")
    if engine.proxy_updates is not None:
        _check_proxy(engine, engine.proxy_updates)


def _check_proxy(engine: Engine, updates: list[tuple[str, set[str]]]) -> None:
    """It asks the new front ends alone while the old ones end, and whatever Docker says before and after."""
    new = {name for name in engine.versions() if engine.containers[name].service == "api"}
    (servers, beside), at_the_end = updates
    assert re.findall(r"server (\S+);", servers) == [f"{address_of(name)}:8000" for name in new]
    assert new < beside
    assert at_the_end == (DOCKERS_NAMES, new)


@pytest.mark.parametrize(
    ("crashing", "settings", "message"),
    [
        ({"api"}, {}, "last words of api"),
        ({"worker"}, {}, "last words of worker"),
        ({"worker-list"}, {}, "last words of worker-list"),
        ({"worker later"}, {}, "last words of worker"),
        (set(), {"SAPI_LEASE": "soon"}, "does not become ready"),
    ],
)
def test_a_release_that_does_not_become_ready_is_rolled_back(
    engine: Engine, roll_out: RollOut, crashing: set[str], settings: dict[str, str], message: str
) -> None:
    for part in ("api", "worker"):
        engine.images[f"storage-api/{part}:0.2.0"].crashing = frozenset(crashing)
    before = dict(engine.containers)
    done = roll_out("0.2.0", **settings)
    assert done.returncode == 1
    assert message in done.stdout
    assert "0.2.0 was not rolled out" in done.stderr
    assert "All of it runs" not in done.stdout
    assert engine.containers == before
    # They get SIGTERM: a new worker that was healthy may have jobs.
    stopped = {words[-1] for words in engine.commands if words[0] == "stop"}
    removed = {name for words in engine.commands if words[:2] == ["rm", "--force"] for name in words[2:]}
    assert removed
    assert removed <= stopped
    assert engine.secrets[1] == "storage-api/worker:0.1.0"
    assert set(engine.fewest.values()) == {1}
    assert engine.killed == []


def test_a_container_that_has_restarted_is_not_ready(engine: Engine, roll_out: RollOut) -> None:
    image, before = engine.images["storage-api/worker:0.2.0"], dict(engine.containers)
    image.crashing, image.crashed = frozenset({"worker-list"}), "running/healthy/1"
    engine.proxy_updates = []
    done = roll_out("0.2.0")
    assert (done.returncode, engine.containers) == (1, before)
    assert "last words of worker-list" in done.stdout
    # Also where a rollout before was killed after it had set the proxy to its own front ends.
    assert [servers for servers, _ in engine.proxy_updates] == [DOCKERS_NAMES]


def test_a_release_may_bring_another_docker_compose_file(engine: Engine, roll_out: RollOut) -> None:
    """The container of the service ``secrets`` is of the old one, and is not started again as it is."""
    engine.files = "of 0.2.0"
    done = roll_out("0.2.0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert engine.secrets == ("of 0.2.0", "storage-api/worker:0.2.0")


def test_a_service_missing_in_the_older_release_is_stopped(engine: Engine, roll_out: RollOut) -> None:
    ours, others = "played-webhooks-8", "played-prometheus-9"
    engine.containers[ours] = Container(ours, "webhooks", "storage-api/worker:0.2.0", "running/healthy/0")
    engine.containers[others] = Container(others, "prometheus", "prometheus:3", "running/none/0")
    done = roll_out("0.1.0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{ours} is of no service" in done.stdout
    assert ours not in engine.containers
    assert others in engine.containers


def test_a_crashing_flower_is_rolled_back(engine: Engine, roll_out: RollOut) -> None:
    engine.images["storage-api/worker:0.2.0"].crashing = frozenset({"flower"})
    done = roll_out("0.2.0")
    assert done.returncode == 1
    assert set(engine.versions().values()) == {"0.1.0"}
    assert len(engine.versions()) == len(SERVICES)
    assert {container.state for container in engine.containers.values()} == {"running/healthy/0"}


def test_an_image_that_is_missing_or_of_another_release_changes_nothing(engine: Engine, roll_out: RollOut) -> None:
    engine.images["storage-api/worker:0.2.0"].release = "0.1.9"
    before = dict(engine.containers)
    mixed = roll_out("0.2.0")
    del engine.images["storage-api/worker:0.2.0"]
    missing = roll_out("0.2.0")
    assert (mixed.returncode, missing.returncode) == (1, 1)
    assert "storage-api/worker:0.2.0 is not" in mixed.stderr
    assert "there is no image storage-api/worker:0.2.0 here" in missing.stderr
    assert engine.containers == before
    assert not built(engine.commands)


def test_a_front_end_that_reports_another_version_fails_the_rollout(engine: Engine, roll_out: RollOut) -> None:
    engine.images["storage-api/api:0.2.0"].reported_release = "0.1.0"
    done = roll_out("0.2.0")
    assert done.returncode == 1
    assert "says 0.1.0" in done.stderr
    assert "All of it runs" not in done.stdout


def test_a_broken_stack_is_repaired_with_as_many_containers(engine: Engine, roll_out: RollOut) -> None:
    engine.images |= {f"storage-api/{part}:0.4.0": Image("0.4.0") for part in ("api", "worker")}
    engine.dotenv["SAPI_VERSION"] = "0.4.0"
    for container in engine.containers.values():
        if container.service in {"worker", "worker-list"}:
            container.image, container.state = "storage-api/worker:0.4.0", "restarting/unhealthy/7"
    done = roll_out("0.1.0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(engine.versions().values()) == {"0.1.0"}
    assert len(engine.versions()) == len(SERVICES)


def test_one_off_containers_of_an_operator_are_not_stopped(engine: Engine, roll_out: RollOut) -> None:
    """As a shell by `docker compose run`: it is no front end that would have to be replaced."""
    engine.published = ""
    engine.containers["shell"] = Container("shell", "api", "storage-api/api:0.1.0", "running/healthy/0", oneoff=True)
    done = roll_out("0.2.0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "shell" in engine.containers
    assert sorted(engine.versions().values()) == ["0.1.0"] + ["0.2.0"] * len(SERVICES)


def test_a_rollback_restores_the_running_images_and_not_stopped_ones(engine: Engine, roll_out: RollOut) -> None:
    for part in ("api", "worker"):
        engine.images[f"storage-api/{part}:0.0.9"] = Image("0.0.9")
    engine.images["storage-api/worker:0.2.0"].crashing = frozenset({"flower"})
    left = {f"left-{part}": Container(f"left-{part}", part, f"storage-api/{part}:0.0.9", "exited/unhealthy/0")
            for part in ("api", "worker")}  # fmt: skip
    engine.containers = left | engine.containers
    done = roll_out("0.2.0")
    assert done.returncode == 1
    assert "the containers of 0.1.0 go on" in done.stderr
    (flower,) = [each for each in engine.containers.values() if each.service == "flower"]
    assert flower.image == "storage-api/worker:0.1.0"


def test_images_named_in_the_settings_change_their_tag(engine: Engine, roll_out: RollOut) -> None:
    for part in ("api", "worker"):
        for version in ("0.1.0", "0.2.0"):
            engine.images[f"mirror:5000/{part}:{version}"] = Image(version)
        engine.dotenv[f"SAPI_{part.upper()}_IMAGE"] = f"mirror:5000/{part}:0.1.0"
    done = roll_out("0.2.0")
    assert done.returncode == 0, done.stdout + done.stderr
    expected = {f"mirror:5000/{part}:0.2.0" for part in ("api", "worker")}
    assert {container.image for container in engine.containers.values() if container.service in SERVICES} == expected
    assert {"SAPI_API_IMAGE=mirror:5000/api:0.2.0", "SAPI_WORKER_IMAGE=mirror:5000/worker:0.2.0"} <= set(
        done.stdout.splitlines()
    )


def test_without_redis_no_rollout_begins(engine: Engine, roll_out: RollOut) -> None:
    for container in engine.containers.values():
        if container.service == "redis":
            container.state = "exited/unhealthy/0"
    before = dict(engine.containers)
    done = roll_out("0.2.0")
    assert done.returncode == 1
    assert "Redis does not run" in done.stderr
    assert engine.containers == before


@pytest.mark.skipif(not shutil.which("flock"), reason="flock is not here")
def test_two_rollouts_at_a_time_are_refused(engine: Engine, roll_out: RollOut, tmp_path: Path) -> None:
    before = dict(engine.containers)
    with (tmp_path / "docker-compose.yml").open() as locked:
        fcntl.flock(locked, fcntl.LOCK_EX)
        done = roll_out("0.2.0")
    assert done.returncode == 1
    assert "another rollout is under way" in done.stderr
    assert engine.containers == before


@pytest.mark.parametrize(
    ("number", "is_read", "ready_s"),
    [(signal.SIGTERM, True, 10), (signal.SIGHUP, False, 10), (signal.SIGHUP, True, 1)],
    ids=["ended", "the connection is lost", "it is lost while it goes back"],
)
def test_an_interrupted_rollout_is_rolled_back(
    engine: Engine, begin: Callable[..., subprocess.Popen[str]], number: int, is_read: bool, ready_s: int
) -> None:
    engine.images["storage-api/worker:0.2.0"].slow = frozenset({"worker-list"})
    before = dict(engine.containers)
    with begin("0.2.0", ROLL_OUT_READY_S=str(ready_s)) as process:
        until = time.monotonic() + 30
        while not [words for words in engine.commands if words[0] == "inspect" and words[-1] not in before]:
            assert time.monotonic() < until
            time.sleep(0.02)
        # Where nobody reads any more what it says, the shell that was signed in, and the system, each send the signal.
        for stream in () if is_read else (process.stdout, process.stderr):
            assert stream
            stream.close()
        process.send_signal(number if ready_s > 1 else 0)
        while process.poll() is None and not [words for words in engine.commands if words[0] == "stop"]:
            time.sleep(0.01)
        process.send_signal(number if number == signal.SIGHUP else 0)
        if is_read:
            assert "0.2.0 was not rolled out" in process.communicate(timeout=30)[1]
        process.wait(timeout=30)
    assert process.returncode == (130 if ready_s > 1 else 1)
    assert engine.containers == before
