"""On a Docker engine: rollouts and ways back, back-up and restore, and several hosts, as the manual types them.

Needs the images of `make image`. The releases are the same images under other names, some of them broken on purpose.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.load import Clients
from tests.deploy.stack import IMAGES, ROOT, Stack, has_engine, has_image
from tests.docs.pages import blocks

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(900),
    pytest.mark.xdist_group("engine"),
    pytest.mark.skipif(
        not has_engine(), reason="no Docker engine answers: rollouts, back-ups and ways back are not tried"
    ),
    pytest.mark.skipif(
        not all(has_image(f"{image}:dev") for image in IMAGES),
        reason="no images of `make image`: rollouts, back-ups and ways back are not tried",
    ),
]
BACKENDS = "dummy🌈DummyStorage🌈latency_s🌈0.1"
#: By version: what is done to the images of either part.
RELEASES: dict[str, dict[str, str]] = {
    "0.1.0": {"api": "true", "worker": "true"},
    "0.2.0": {"api": "true", "worker": "true"},
    "0.3.0": {"api": "echo 'raise RuntimeError(1)' >/app/api/wsgi.py", "worker": "true"},
    "0.4.0": {"api": "true", "worker": "echo 'raise RuntimeError(2)' >/app/worker/main.py"},
    "0.5.0": {"api": "true"},
}
_RELEASE = """\
FROM storage-api/{part}:dev
USER 0
RUN sed -i 's/^Version: .*/Version: {version}/' /app/storage_api-*.dist-info/METADATA && {done}
USER 10001:0
"""


def typed(title: str, page: str = "deployment.md") -> list[str]:
    """The blocks of commands in the section of that title."""
    path = ROOT / "docs" / page
    lines = path.read_text("utf-8").splitlines()
    first = next(at for at, line in enumerate(lines) if line.lstrip("#").strip() == title and line.startswith("##"))
    last = next((at for at in range(first + 1, len(lines)) if lines[at].startswith("##")), len(lines))
    found = [block.text for block in blocks(path) if block.kind == "sh" and first < block.line < last]
    assert found, title
    return found


@dataclass
class Operator:
    """Somebody with a folder of the deployment's files, who types what the manual says."""

    folder: Path
    stack: Stack

    def type(self, commands: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "-ec", commands], cwd=self.folder, env=self.stack.environment | settings, capture_output=True,
            text=True, timeout=600, check=False,
        )  # fmt: skip

    def roll_out(self, version: str, **settings: str) -> subprocess.CompletedProcess[str]:
        (command,) = [block for block in typed("Upgrades") if "roll_out.sh" in block]
        return self.type(command.replace("0.2.0", version), **settings)

    def containers(self) -> dict[str, str]:
        """By id: the image of each container that has not ended."""
        listed = self.type("docker compose ps --format '{{.ID}} {{.Image}}'").stdout.splitlines()
        return dict(line.split(" ", 1) for line in listed)

    def versions(self) -> set[str]:
        return {image.rpartition(":")[2] for image in self.containers().values() if "/sapi-test/" in f"/{image}"}

    def clients(self) -> Clients:
        return Clients(self.stack.addresses, self.stack.authorization(), 3, pause_s=0.2)


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    folder = tmp_path_factory.mktemp("operator")
    shutil.copy(ROOT / "docker-compose.yml", folder)
    shutil.copytree(ROOT / "deploy", folder / "deploy", ignore=shutil.ignore_patterns("__pycache__"))
    planned = Stack.planned(apis=1, workers=2, backends=BACKENDS)
    changed = {
        "COMPOSE_FILE": str(folder / "docker-compose.yml"),
        "SAPI_IMAGES": "sapi-test",
        "SAPI_VERSION": "0.1.0",
        "ROLL_OUT_WATCH_S": "2",
    }
    names = []
    for version, parts in RELEASES.items():
        for part, done in parts.items():
            names.append(f"sapi-test/{part}:{version}")
            text = _RELEASE.format(part=part, version=version, done=done)
            subprocess.run(
                ["docker", "build", "--quiet", "--tag", names[-1], "-"], input=text.encode(), check=True,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
    stack = Stack(planned.environment | changed, planned.first_port, planned.ports)
    someone = Operator(folder, stack)
    try:
        started = someone.type("docker compose up --wait")
        assert started.returncode == 0, started.stderr[-2000:]
        yield someone
    finally:
        someone.type("docker compose down --volumes --timeout 5")
        subprocess.run(["docker", "image", "rm", "--force", *names], capture_output=True, check=False)


def ended(clients: Clients) -> dict[str, Any]:
    """By name: the jobs that did not succeed, after a while."""
    left = dict(clients.seen.accepted)
    deadline = time.monotonic() + 60
    while left and time.monotonic() < deadline:
        for name, job_id in list(left.items()):
            status, job, _ = clients.get_page(f"/v4/jobs/{job_id}")
            if status == 200 and job["state"] == "succeeded":
                del left[name]
        time.sleep(0.2)
    return left


def test_a_release_and_the_way_back_lose_nothing(operator: Operator) -> None:
    clients = operator.clients()
    clients.start()
    there = operator.roll_out("0.2.0")
    reached = operator.versions()
    (command,) = typed("The way back")
    back = operator.type(command)
    clients.stop()
    assert (there.returncode, reached) == (0, {"0.2.0"}), there.stdout + there.stderr
    assert "SAPI_VERSION=0.2.0" in there.stdout.splitlines()
    assert (back.returncode, operator.versions()) == (0, {"0.1.0"}), back.stdout + back.stderr
    seen = clients.seen
    assert len(seen.accepted) > 20
    assert (seen.broken, seen.given_up, ended(clients)) == ([], [], {})
    # The stack is as the next `docker compose up` would make it.
    before = operator.containers()
    operator.type("docker compose up --detach --wait")
    assert operator.containers() == before


@pytest.mark.parametrize(
    ("version", "settings", "said"),
    [
        ("0.3.0", {}, "RuntimeError: 1"),
        ("0.4.0", {}, "RuntimeError: 2"),
        ("0.5.0", {}, "no image sapi-test/worker:0.5.0"),
        ("0.2.0", {"SAPI_LEASE": "soon"}, "SAPI_LEASE"),
    ],
    ids=["front end crashes", "worker crashes", "image is missing", "setting is wrong"],
)
def test_what_does_not_become_ready_changes_nothing(
    operator: Operator, version: str, settings: dict[str, str], said: str
) -> None:
    before = operator.containers()
    clients = operator.clients()
    clients.start()
    done = operator.roll_out(version, **settings)
    clients.stop()
    assert done.returncode == 1
    assert said in done.stdout + done.stderr
    assert "All of it runs" not in done.stdout
    assert operator.containers() == before
    assert (clients.seen.broken, clients.seen.given_up) == ([], [])
    assert clients.seen.accepted


def test_a_broken_stack_is_brought_back_by_the_same_command(operator: Operator) -> None:
    workers = set(operator.stack.containers("worker"))
    operator.type("docker compose up --detach worker worker-list", SAPI_VERSION="0.4.0")
    done = operator.roll_out("0.1.0")
    assert (done.returncode, operator.versions()) == (0, {"0.1.0"}), done.stdout + done.stderr
    assert len(operator.stack.containers("worker")) == len(workers) == 2


def test_a_back_up_is_restored(operator: Operator) -> None:
    clients = operator.clients()
    clients.start()
    time.sleep(2)
    clients.stop()
    assert not ended(clients)
    kept = set(clients.seen.accepted.values())
    copy, restore = typed("Back-ups")[:2]
    for commands in (copy, restore):
        done = operator.type(commands)
        assert done.returncode == 0, done.stderr
        operator.type("docker compose up --detach --wait --no-recreate")
    assert kept
    assert {clients.get_page(f"/v4/jobs/{job_id}")[0] for job_id in kept} == {200}


def test_workers_on_another_host(operator: Operator, tmp_path: Path) -> None:
    """The other host is another project on the same engine, which reaches the first by the engine's own address."""
    network = f"{operator.stack.environment['COMPOSE_PROJECT_NAME']}_front"
    asked = f"docker network inspect {network} --format '{{{{range .IPAM.Config}}}}{{{{.Gateway}}}}{{{{end}}}}'"
    gateway = operator.type(asked).stdout.strip()
    assert gateway
    first, other = typed("Containers on several hosts", "several-hosts.md")
    files = f"{operator.folder}/docker-compose.yml:{operator.folder}/deploy/compose/published-redis.yml"
    named = "docker-compose.yml:deploy/compose/published-redis.yml"
    first = first.replace("192.0.2.1", gateway).replace(named, files)
    done = operator.type(first)
    assert done.returncode == 0, done.stderr[-1500:]
    shutil.copytree(operator.folder, tmp_path / "other", ignore=shutil.ignore_patterns(".env"))
    project = {
        "COMPOSE_PROJECT_NAME": f"other-{os.getpid()}",
        "COMPOSE_FILE": str(tmp_path / "other/docker-compose.yml"),
    }
    elsewhere = Operator(tmp_path / "other", Stack(operator.stack.environment | project, 0, 0))
    try:
        done = elsewhere.type(other)
        assert done.returncode == 0, done.stdout + done.stderr
        clients = operator.clients()
        _, state, _ = clients.get_page("/readyz")
        assert state["queues"]["dummy.write"]["workers_online"] == 4
    finally:
        elsewhere.type("docker compose down --volumes --timeout 5")
