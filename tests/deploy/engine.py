"""An operator with a stack on a Docker engine, who runs the commands of the manual. Needs the images of `make image`.

The releases are these images under other names, some of them broken on purpose.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.load import Clients
from tests.deploy.stack import IMAGES, ROOT, Stack, has_engine, has_image
from tests.docs.pages import blocks

#: For modules whose tests need the engine and the images.
NEEDS_ENGINE = [
    pytest.mark.e2e,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        not has_engine(),
        reason="no Docker engine answers: rollouts, ways back, back-ups, draining, sign-in, new images are not tried",
    ),
    pytest.mark.skipif(
        not all(has_image(f"{image}:dev") for image in IMAGES),
        reason="no images of `make image`: rollouts, ways back, back-ups, draining and sign-in are not tried",
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
    commands = [block.text for block in blocks(path) if block.kind == "sh" and first < block.line < last]
    assert commands, title
    return commands


def typed_in_row(place: str, page: str = "operating.md") -> list[str]:
    """The commands of the row of a table that begins with that place."""
    lines = (ROOT / "docs" / page).read_text("utf-8").splitlines()
    (row,) = [line for line in lines if line.startswith(f"| {place} |")]
    return re.findall(r"\| `([^`]+)`", row)


@dataclass
class Operator:
    """An operator with a folder of the deployment's files, who runs the commands of the manual."""

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

    def clients(self, threads: int = 3, pause_s: float = 0.2) -> Clients:
        return Clients(self.stack.addresses, self.stack.authorization(), threads, pause_s)


def _make_release(version: str) -> list[str]:
    """Build the images of that release; their names."""
    names = []
    for part, done in RELEASES[version].items():
        names.append(f"sapi-test/{part}:{version}")
        text = _RELEASE.format(part=part, version=version, done=done)
        subprocess.run(
            ["docker", "build", "--quiet", "--tag", names[-1], "-"], input=text.encode(), check=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    return names


@contextmanager
def deployed(folder: Path, *versions: str, files: tuple[Path, ...] = ()) -> Iterator[Operator]:
    """A running stack in ``folder``, of the first of the versions; the others are images beside it.

    ``files`` are further files for Compose.
    """
    shutil.copy(ROOT / "docker-compose.yml", folder)
    shutil.copytree(ROOT / "deploy", folder / "deploy", ignore=shutil.ignore_patterns("__pycache__"))
    planned = Stack.planned(apis=1, workers=2, backends=BACKENDS)
    changed = {
        "COMPOSE_FILE": ":".join(map(str, (folder / "docker-compose.yml", *files))),
        "SAPI_IMAGES": "sapi-test",
        "SAPI_VERSION": versions[0],
        "ROLL_OUT_WATCH_S": "2",
    }
    names = [name for version in versions for name in _make_release(version)]
    someone = Operator(folder, Stack(planned.environment | changed, planned.first_port, planned.ports))
    try:
        started = someone.type("docker compose up --wait")
        assert started.returncode == 0, started.stderr[-2000:]
        yield someone
    finally:
        someone.type("docker compose down --volumes --timeout 5")
        subprocess.run(["docker", "image", "rm", "--force", *names], capture_output=True, check=False)


def ended(clients: Clients) -> dict[str, Any]:
    """By name: the jobs that did not succeed, after a while."""
    unfinished = dict(clients.seen.accepted)
    deadline = time.monotonic() + 60
    while unfinished and time.monotonic() < deadline:
        for name, job_id in list(unfinished.items()):
            status, job, _ = clients.get_page(f"/v4/jobs/{job_id}")
            if status == 200 and job["state"] == "succeeded":
                del unfinished[name]
        time.sleep(0.2)
    return unfinished
