"""The users of Redis that are shipped may do what their processes do, and no more, on the real server."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest
import redis

from deploy.dev.embedded_redis import EmbeddedRedis, find_server
from tests.api.auth.auth_app import PREFIX, build, roles_of
from worker.store.scripts import JobScripts

ACL = Path(__file__).parents[3] / "deploy" / "redis" / "users.acl"
USERS = ("api", "worker", "flower", "health")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server of its own, with the users of the template; passwords are as their names."""
    folder = tmp_path_factory.mktemp("acl")
    server = EmbeddedRedis.in_folder(find_server(), folder)
    process = server.start()
    try:
        server.await_ready(timeout_s=20)
        with redis.Redis.from_url(server.url) as admin:
            for line in ACL.read_text().splitlines():
                words = line.split()
                if words[:1] == ["user"] and words[1] in USERS:
                    rules = [f">{words[1]}" if word == f"#{{{words[1]}}}" else word for word in words[2:]]
                    admin.execute_command("ACL", "SETUSER", words[1], *rules)
        yield server
    finally:
        process.terminate()
        process.wait(timeout=20)


@pytest.fixture
def client_of(server):
    clients: list[redis.Redis] = []

    def make(user: str) -> redis.Redis:
        clients.append(redis.Redis("127.0.0.1", port=server.port, username=user, password=user))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize(
    "command",
    [
        "FLUSHALL", "FLUSHDB", "CONFIG GET *", "CONFIG SET appendonly no", "KEYS *", "SHUTDOWN NOSAVE",
        "ACL LIST", "MODULE LIST", "REPLICAOF NO ONE", "SWAPDB 0 1", "MONITOR", "SAVE",
        "SET somebody-elses-key x", "GET somebody-elses-key", "EVAL return(redis.call('FLUSHALL')) 0",
    ],
)  # fmt: skip
def test_a_user_without_the_permission_is_refused(client_of, user, command):
    with pytest.raises((redis.exceptions.NoPermissionError, redis.exceptions.ResponseError)) as caught:
        client_of(user).execute_command(*command.split())

    words = str(caught.value).lower()
    # Redis 7.0 says it in its own words when a script is refused a command.
    assert "permission" in words or "noperm" in words or "can't run this command" in words


def test_flower_cannot_touch_jobs(client_of):
    for command in ("GET sapi:job:x", "HSET sapi:job:x state succeeded", "GET sapi:session:x"):
        with pytest.raises(redis.exceptions.NoPermissionError):
            client_of("flower").execute_command(*command.split())


def test_the_default_user_is_disabled():
    (line,) = [line for line in ACL.read_text().splitlines() if line.startswith("user default")]

    assert line.split()[2:4] == ["off", "resetpass"]
    assert not [word for word in line.split() if word == "on" or word.startswith((">", "#")) or word == "nopass"]


@pytest.mark.parametrize("user", ["api", "worker"])
def test_every_command_of_every_script_is_allowed(server, client_of, user):
    scripts = JobScripts(client_of(user), PREFIX)
    sources = [str(script.script) for script in scripts.registered.values()]
    commands = {command for source in sources for command in re.findall(r"redis\.call\(\s*'(\w+)'", source)}
    assert {"HSET", "ZADD", "XADD", "PUBLISH"} <= commands
    assert sum(source.count("redis.call(") for source in sources) == sum(
        len(re.findall(r"redis\.call\(\s*'\w+'", source)) for source in sources
    )
    with redis.Redis.from_url(server.url, decode_responses=True) as admin:
        refused = [command for command in commands if not _is_allowed(admin, user, command)]
    assert refused == []


def _is_allowed(admin, user, command) -> bool:
    """Ask the server, with as many arguments as the command needs, for a key or channel that every process uses."""
    argument = f"{PREFIX}events" if command == "PUBLISH" else f"{PREFIX}job:x"
    for count in range(6):
        with contextlib.suppress(redis.exceptions.ResponseError):
            return bool(admin.execute_command("ACL", "DRYRUN", user, command, *[argument] * count) == "OK")
    raise AssertionError(command)


def test_signing_in_works_as_the_api_user(client_of):
    client = build(client_of("api"), debug=True, rate_limit="10/minute").test_client()
    client.get("/login")
    answer = client.post("/v4/needs/ADMIN")

    assert answer.headers["X-RateLimit-Remaining"] == "9"
    assert len(roles_of(client)) == 3
    assert client.get("/logout").status_code == 302
