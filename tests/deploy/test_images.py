"""What is in the images: read from the lock files and Dockerfiles, and seen in the images where there is an engine."""

from __future__ import annotations

import importlib.metadata
import inspect
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from api.limits import bodies_in_flight
from api.settings import ApiSettings
from deploy.compose.make_secrets import READERS
from deploy.dev.environment import Backends, Ports, service_environment
from deploy.dev.programs import programs
from deploy.image import label
from tests.deploy.stack import ROOT, has_engine, has_image
from worker.catalog.operations import QueueClass
from worker.store.client import connect

FORBIDDEN = {
    "api": {"netapp-ontap", "flower", "pybreaker"},
    "worker": {"flask", "flask-smorest", "authlib", "granian", "werkzeug"},
}
MODULES = {"api": "netapp_ontap", "worker": "flask"}
each_part = pytest.mark.parametrize("part", ["api", "worker"])


def requirements(part: str) -> dict[str, str]:
    """By name: the block of each requirement of a lock file."""
    text = (ROOT / f"requirements-{part}.lock").read_text("utf-8")
    blocks = re.split(r"\n(?=[a-z0-9])", text.strip())
    return {re.split(r"[=\[ ]", block)[0]: block for block in blocks}


@each_part
def test_lock_file_holds_what_the_part_needs_and_nothing_of_the_other(part: str) -> None:
    locked = requirements(part)
    assert {"celery", "redis", "pydantic"} <= locked.keys()
    assert not FORBIDDEN[part] & locked.keys()


@each_part
def test_everything_is_locked_by_version_and_hash(part: str) -> None:
    locked = requirements(part)
    assert len(locked) > 20
    for name, block in locked.items():
        assert re.match(rf"{re.escape(name)}==\S+", block), block.splitlines()[0]
        assert "--hash=sha256:" in block, name


@each_part
def test_dockerfile_passes_the_linter(part: str) -> None:
    linter = Path(sys.executable).with_name("hadolint")
    if not linter.exists():
        pytest.skip("hadolint has no wheel for this machine")
    done = subprocess.run([linter, f"Dockerfile.{part}"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@each_part
def test_dockerfile_installs_by_hash_and_runs_without_root(part: str) -> None:
    text = (ROOT / f"Dockerfile.{part}").read_text("utf-8")
    assert "--require-hashes --only-binary=:all:" in text
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE) == ["10001:0"]
    # As long as on a cluster: a busy machine needs more time.
    (options,) = re.findall(r"^HEALTHCHECK (.*?) *(?:\\|CMD)", text, re.MULTILINE)
    checked = dict(re.findall(r"--([a-z-]+)=(\d+)", options))
    assert int(checked["start-period"]) >= 120
    assert int(checked["retries"]) >= 3
    assert int(checked["timeout"]) >= 5
    # Requests are completed: processes get SIGTERM, not SIGKILL.
    assert re.findall(r"^STOPSIGNAL (.*)$", text, re.MULTILINE) == ["SIGTERM"]
    assert re.findall(r"^FROM (\S+)", text, re.MULTILINE) == ["${PYTHON_IMAGE}"] * 2


def test_the_pages_of_the_vendors_library_are_not_in_the_image() -> None:
    built = (ROOT / "Dockerfile.worker").read_text("utf-8").rsplit("\nFROM ", 1)[0]
    (folder,) = re.findall(r"&& rm -rf /opt/venv/lib/python3\*/site-packages/(\S+)", built)
    # They are where the library has them.
    assert Path(str(importlib.metadata.distribution("netapp-ontap").locate_file(folder))).is_dir()


@each_part
def test_every_user_may_read_what_was_built_whatever_the_modes_of_the_checkout(part: str) -> None:
    built, copied = (ROOT / f"Dockerfile.{part}").read_text("utf-8").rsplit("\nFROM ", 1)
    # Whatever follows would leave its own modes.
    assert built.rstrip().endswith("&& chmod -R a+rX,go-w /app /opt/venv")
    assert re.findall(r"^COPY (?:--from=\S+ )?(.+)$", copied, re.MULTILINE) == ["/opt/venv /opt/venv", "/app /app"]


def test_any_user_of_group_0_may_use_the_folders_and_a_worker_alone_serves_every_queue() -> None:
    for part in MODULES:
        text = (ROOT / f"Dockerfile.{part}").read_text("utf-8")
        (options,) = re.findall(r"^RUN install -d (.*?) /", text, re.MULTILINE)
        assert options == "-m 2775 -o 10001 -g 0", part
    (queues,) = re.findall(r'"--queues", "([a-z,]+)"\]$', (ROOT / "Dockerfile.worker").read_text("utf-8"), re.MULTILINE)
    assert sorted(queues.split(",")) == sorted(QueueClass)


def test_the_image_gives_the_folder_of_each_readers_secrets_to_group_0() -> None:
    text = (ROOT / "Dockerfile.worker").read_text("utf-8")
    folders = set(re.findall(r"/secrets/([a-z]+)", text))
    assert folders == {*READERS, "redis"}


def test_each_request_thread_of_a_front_end_may_hold_a_connection_to_redis() -> None:
    text = (ROOT / "Dockerfile.api").read_text("utf-8")
    (threads,) = re.findall(r"GRANIAN_BLOCKING_THREADS=(\d+)", text)
    (api,) = (program for program in programs(Ports.chosen({}), None) if program.name == "api")
    assert threads == api.command[api.command.index("--blocking-threads") + 1]
    assert inspect.signature(connect).parameters["connections"].default > int(threads)


def test_the_server_of_the_image_is_set_as_the_development_servers_and_as_the_manual_says() -> None:
    text = (ROOT / "Dockerfile.api").read_text("utf-8")
    image = dict(re.findall(r"GRANIAN_([A-Z0-9_]+)=(\S+)", text))
    (api,) = (program for program in programs(Ports.chosen({}), None) if program.name == "api")
    words = api.command
    options = {word[2:]: words[place + 1 : place + 2] for place, word in enumerate(words) if word.startswith("--")}
    shared = {
        variable: value
        for variable, value in image.items()
        if variable.lower().replace("_", "-") in options.keys() - {"host", "port", "workers"}
    }
    assert len(shared) >= 8
    for variable, value in shared.items():
        (option,) = options[variable.lower().replace("_", "-")] or [""]
        assert value == ("true" if option.startswith("--") else option), variable
    documented = re.search(
        r"([0-9,]+)\s+connections \(`GRANIAN_BACKPRESSURE`\) and ([0-9,]+) threads \(`GRANIAN_BLOCKING_THREADS`\)",
        (ROOT / "docs/operating.md").read_text("utf-8"),
    )
    assert documented
    assert [image["BACKPRESSURE"], image["BLOCKING_THREADS"]] == [
        number.replace(",", "") for number in documented.groups()
    ]
    # The API refuses long addresses and heads itself: they must fit into what its server reads.
    settings = ApiSettings()
    assert int(image["HTTP1_BUFFER_SIZE"]) > settings.max_url_bytes + settings.max_header_bytes
    # Of requests that last, a tenth of most kinds is kept for users with a role for changes.
    lasting = settings.max_waiting + settings.max_streams + settings.max_bodies
    assert int(image["BLOCKING_THREADS"]) > settings.max_queued + lasting * 9 // 10 + bodies_in_flight.MOST
    # When one process dies, another still answers.
    assert int(image["WORKERS"]) >= 2
    assert image["HOST"] == "0.0.0.0"
    (arenas,) = re.findall(r"MALLOC_ARENA_MAX=(\d+)", text)
    assert service_environment({}, Backends.read({}), "", "", "")["MALLOC_ARENA_MAX"] == arenas


@pytest.mark.parametrize(
    ("file", "named"),
    [
        ("Dockerfile.api", "EXPOSE {public} {admin}\n"),
        ("docker-compose.yml", ':${{SAPI_PORT:-8000}}:{public}"]'),
        ("deploy/compose/roll_out.sh", 'HTTPConnection("127.0.0.1", {public}, '),
        ("deploy/proxy/compose-servers.conf", "default api:{public};"),
        ("deploy/proxy/kubernetes-servers.conf", "default 127.0.0.1:{public};"),
        ("deploy/kubernetes/base/api.yaml", "{{name: http, containerPort: {public}}}"),
        ("deploy/kubernetes/base/api.yaml", "{{name: admin, containerPort: {admin}}}"),
        (".gitlab-ci.yml", "try_service.py http://api:{public} "),
        ("docs/deployment.md", "are also on port {admin} (`SAPI_ADMIN_PORT`)"),
    ],
)
def test_the_health_check_uses_the_ports_of_the_image(file: str, named: str) -> None:
    image = dict(re.findall(r"(GRANIAN|ADMIN)_PORT=(\d+)", (ROOT / "Dockerfile.api").read_text("utf-8")))
    assert named.format(public=image["GRANIAN"], admin=image["ADMIN"]) in (ROOT / file).read_text("utf-8")


def test_the_front_end_listens_at_every_address_of_its_container() -> None:
    """Clients, probes and monitoring are outside of it."""
    listens = re.findall(r"(GRANIAN_HOST|SAPI_ADMIN_ADDRESS)=(\S+)", (ROOT / "Dockerfile.api").read_text("utf-8"))
    assert sorted(listens) == [("GRANIAN_HOST", "0.0.0.0"), ("SAPI_ADMIN_ADDRESS", "0.0.0.0")]


def test_the_interpreter_is_set_alike_in_both_images_and_has_a_home_that_can_be_written() -> None:
    variables = [
        dict(re.findall(r"([A-Z0-9_]+)=(\S+)", block))
        for part in MODULES
        for block in re.findall(
            r"^ENV (.*?[^\\])$", (ROOT / f"Dockerfile.{part}").read_text("utf-8"), re.MULTILINE | re.DOTALL
        )
    ]
    api, worker = ({name: each[name] for name in each if name.startswith(("PYTHON", "PATH"))} for each in variables)
    assert api == worker
    assert api.keys() >= {"PATH", "PYTHONPATH", "PYTHONUNBUFFERED", "PYTHONUTF8"}
    # The file system is read only but for /tmp, and the user has no home of its own.
    assert [each["HOME"] for each in variables] == ["/tmp", "/tmp"]


def copy_as_the_image(part: str, folder: Path) -> None:
    """Copy what the Dockerfile copies to /app."""
    text = (ROOT / f"Dockerfile.{part}").read_text("utf-8")
    for source, target in re.findall(r"^COPY (\S+) /app/(\S+)$", text, re.MULTILINE):
        if "*" not in source:
            shutil.copytree(ROOT / source, folder / target, ignore=shutil.ignore_patterns("__pycache__"))
            continue
        (folder / target).mkdir(parents=True)
        for file in sorted(ROOT.glob(source)):
            shutil.copy(file, folder / target)


@each_part
def test_the_copied_packages_start_without_the_rest(part: str, tmp_path: Path) -> None:
    copy_as_the_image(part, tmp_path)
    started = "api.wsgi" if part == "api" else "worker.main"
    code = f"import {started}, sys; print(*(n for n in sys.modules if n.startswith('storage_backends.')))"
    environment = {
        "PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path), "SAPI_BACKENDS": "dummy🌈DummyStorage",
        "SAPI_SECRET_KEY": "0" * 64, "PYTHONUTF8": "1",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not [name for name in done.stdout.split() if name.split(".")[1] in {"dummy", "netapp"}]
    drivers = {path.parent.name for path in (tmp_path / "storage_backends").glob("*/backend.py")}
    assert drivers == (set() if part == "api" else {"dummy", "netapp"})


def test_the_build_gets_no_more_than_it_copies() -> None:
    allowed = set(re.findall(r"^!(\S+)", (ROOT / ".dockerignore").read_text("utf-8"), re.MULTILINE))
    copied: set[str] = set()
    for part in MODULES:
        text = (ROOT / f"Dockerfile.{part}").read_text("utf-8")
        for sources in re.findall(r"^COPY (?!--)(.+) \S+$", text, re.MULTILINE):
            copied |= {source.split("/*")[0].removesuffix("/configuration") for source in sources.split()}
    assert copied == {path if path != "deploy/image" else "deploy/image/label.py" for path in allowed}
    # Bytecode is made in the image, by its own interpreter.
    assert {"**/__pycache__", "**/*.pyc"} <= set((ROOT / ".dockerignore").read_text("utf-8").splitlines())


def test_the_image_is_labelled_with_the_version(tmp_path: Path) -> None:
    label.main(str(ROOT / "pyproject.toml"), str(tmp_path))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    (distribution,) = importlib.metadata.distributions(name="storage-api", path=[str(tmp_path)])
    assert (distribution.name, distribution.version) == (project["name"], project["version"])


@each_part
@pytest.mark.skipif(not has_engine(), reason="no Docker engine answers")
def test_image_runs_as_any_user_without_what_it_must_not_hold(part: str) -> None:
    image = f"storage-api/{part}:dev"
    if not has_image(image):
        pytest.skip(f"{image} is not built: make image")
    code = (
        f"import importlib.util as u, os; assert u.find_spec({MODULES[part]!r}) is None; assert u.find_spec('celery');"
        "assert os.getuid() == 123456 and not os.access('/app', os.W_OK); open('/tmp/x', 'w').close(); print('fine')"
    )
    command = ["docker", "run", "--rm", "--read-only", "--tmpfs", "/tmp:mode=1777", "--user", "123456:0"]
    command += ["--cap-drop", "ALL", image, "python", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == "fine", done.stderr
