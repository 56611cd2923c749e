"""On a Docker engine: draining a worker, a full disk of Redis, and signing in at a provider, as the manual says."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from tests.deploy.engine import NEEDS_ENGINE, Operator, deployed, ended, typed, typed_in_row
from tests.identity_provider.directory import Client, User
from tests.identity_provider.provider import IdentityProvider

pytestmark = NEEDS_ENGINE


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A small disk of its own."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk for Redis")
    folder = tmp_path_factory.mktemp("disk")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160m", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory, disk: Path) -> Iterator[Operator]:
    """Its Redis writes to the small disk."""
    folder = tmp_path_factory.mktemp("operator")
    volume = {"driver": "local", "driver_opts": {"type": "none", "o": "bind", "device": str(disk)}}
    (folder / "small-disk.yml").write_text(json.dumps({"volumes": {"redis-data": volume}}), "utf-8")
    with deployed(folder, "0.1.0", files=(folder / "small-disk.yml",)) as someone:
        yield someone


def await_true(holds: Callable[[], bool], limit_s: float = 60) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def events(operator: Operator, container: str) -> list[tuple[str, str]]:
    """What a worker's log says: each event with its job; how a line begins that is no JSON."""
    lines = operator.type(f"docker logs {container} 2>&1").stdout.splitlines()
    read = [json.loads(line) if line.startswith("{") else {"event": line} for line in lines]
    return [(line["event"], line.get("job_id", "")) for line in read]


def test_a_drained_worker_ends_or_hands_over_what_it_has_and_begins_nothing(operator: Operator) -> None:
    project = operator.stack.environment["COMPOSE_PROJECT_NAME"]
    drain, resume = (command.replace("storage-api-", f"{project}-") for command in typed_in_row("Compose"))
    container = drain.split()[-1]
    clients = operator.clients(threads=8, pause_s=0.05)
    clients.start()
    await_true(lambda: sum(event == "job.started" for event, _ in events(operator, container)) > 10)
    assert operator.type(drain).returncode == 0
    before = len(clients.seen.accepted)
    await_true(lambda: len(clients.seen.accepted) > before + 10)
    clients.stop()
    lines = events(operator, container)
    shutdown = next(place for place, (event, _) in enumerate(lines) if "Warm shutdown" in event)
    jobs = {name: {job_id for event, job_id in lines if event == name} for name in ("job.started", "job.ended")}
    # Those that were claimed when it got SIGTERM, and of which nothing was sent.
    given_back = {job_id for event, job_id in lines if event in {"job.not-ended", "job.requeued"}}
    assert jobs["job.started"] == jobs["job.ended"] | given_back
    assert {job_id for event, job_id in lines[shutdown:] if event == "job.started"} <= given_back
    assert not ended(clients)
    assert (clients.seen.broken, clients.seen.given_up) == ([], [])
    assert operator.type(f"docker inspect --format '{{{{.State.ExitCode}}}}' {container}").stdout.strip() == "0"
    assert operator.type(resume).returncode == 0
    await_true(lambda: clients.get_page("/readyz")[1]["queues"]["dummy.write"]["workers_online"] == 2)


def test_a_full_disk_of_redis_is_reported_and_loses_no_job(operator: Operator, disk: Path) -> None:
    clients = operator.clients()
    clients.start()
    await_true(lambda: len(clients.seen.accepted) > 5)
    # To the last byte, whatever Redis writes meanwhile.
    operator.type(f"cat /dev/zero >'{disk}/something else' || true")
    await_true(lambda: clients.seen.statuses[503] > 0)
    await_true(lambda: "the disk of /data is full" in operator.type("docker compose logs redis").stdout)
    accepted = len(clients.seen.accepted)
    assert accepted
    (disk / "something else").unlink()
    await_true(lambda: len(clients.seen.accepted) > accepted + 5)
    clients.stop()
    assert (clients.seen.broken, clients.seen.given_up, ended(clients)) == ([], [], {})


@pytest.fixture
def provider(operator: Operator) -> Iterator[IdentityProvider]:
    """One that containers and browsers on this host reach at the same address: the engine's own in their network.

    Its certificate is of an authority of its own, ``authority.pem`` in the operator's folder.
    """
    network = f"{operator.stack.environment['COMPOSE_PROJECT_NAME']}_front"
    command = f"docker network inspect {network} --format '{{{{range .IPAM.Config}}}}{{{{.Gateway}}}}{{{{end}}}}'"
    address = operator.type(command).stdout.strip()
    made = operator.type(
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=provider -keyout key.pem -out authority.pem"
        f" -addext subjectAltName=IP:{address}"
    )
    assert made.returncode == 0, made.stderr
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(operator.folder / "authority.pem", operator.folder / "key.pem")
    running = IdentityProvider(address, tls)
    running.users = {"anna": User("anna"), "adam": User("adam", ["storage-admins"])}
    running.start()
    yield running
    running.stop()


def sign_in(address: str, user: str, authority: Path) -> requests.Session:
    """A browser that has requested the URL, and signed in at the provider to which it was redirected."""
    browser = requests.Session()
    browser.verify, browser.trust_env = str(authority), False
    form = browser.get(address, timeout=30)
    assert "<form" in form.text, form.text
    browser.post(form.url, data={"user": user}, timeout=30)
    return browser


def test_front_end_and_flower_sign_in_at_a_provider_by_settings_alone(
    operator: Operator, provider: IdentityProvider
) -> None:
    api, flower = f"http://{operator.stack.addresses[0]}", f"http://127.0.0.1:{operator.stack.first_port + 2}"
    provider.clients = {
        "storage-api": Client("storage-api", "the client's own secret", [f"{api}/oauth-done", f"{flower}/login"])
    }
    settings = {
        "SAPI_OAUTH_CLIENT_ID": "storage-api",
        "SAPI_OAUTH_DISCOVERY_URL": f"{provider.issuer}/.well-known/openid-configuration",
        "SAPI_FLOWER_URL": flower,
        "SAPI_BASIC_AUTH_USERNAME": "",
    }
    secrets, authority = [block for block in typed("Settings") if "secrets/flower" in block]
    copy_example, with_secrets = secrets.split("\n", 1)
    assert operator.type(copy_example).returncode == 0
    with (operator.folder / ".env").open("a", encoding="utf-8") as file:
        file.writelines(f"{name}={value}\n" for name, value in settings.items())
    for commands in (with_secrets, authority):
        done = operator.type(commands, OAUTH_SECRET="the client's own secret")
        assert done.returncode == 0, done.stderr[-2000:]
    known_by = operator.folder / "authority.pem"
    adam, anna = (sign_in(f"{flower}/login", user, known_by) for user in ("adam", "anna"))
    assert adam.get(f"{flower}/broker", allow_redirects=False, timeout=30).status_code == requests.codes.ok
    assert anna.get(f"{flower}/broker", allow_redirects=False, timeout=30).status_code != requests.codes.ok
    for user, roles in (("adam", ["ADMIN", "USER"]), ("anna", ["USER"])):
        browser = sign_in(f"{api}/login", user, known_by)
        assert sorted(browser.get(f"{api}/conf/me/roles", timeout=30).json()) == roles
