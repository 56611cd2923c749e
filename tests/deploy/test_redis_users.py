"""What Redis's users may do, with a real server that has the configuration and the users of the deployment."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, ResponseError
from redis.retry import Retry

from deploy.compose.make_secrets import USERS, make_all
from tests.deploy.redis_with_users import Server, running
from tests.deploy.stack import ROOT
from tests.worker.webhooks.receiver import SECRET, HookReceiver
from worker.catalog.operations import OPERATIONS
from worker.config.settings import Settings
from worker.jobs.ids import JobIds
from worker.jobs.service import Jobs, NewJob
from worker.messaging.app import create_celery
from worker.messaging.publisher import create_publisher
from worker.store.client import connect, job_id_secret
from worker.store.ended_sessions import ended_digest, have_ended
from worker.store.scripts import JobScripts
from worker.store.sign_in_attempts import SignInAttempts
from worker.store.startup_checks import check_redis


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("redis-users")) as started:
        yield started


def test_written_data_survives_a_kill(server: Server) -> None:
    client = connect(server.settings("worker"))
    JobScripts(client, "sapi:").worker_heartbeat("node@host", {"dummy.write": 8})
    with client.pipeline(transaction=True) as pipe:
        pipe.set("sapi:job:one", "1")
        pipe.hset("sapi:job:two", "field", "2")
        pipe.execute()
    before = sorted(client.scan_iter("*"))
    server.kill()
    server.start()
    assert sorted(connect(server.settings("worker")).scan_iter("*")) == before
    assert {b"sapi:job:one", b"sapi:job:two", b"sapi:workers:dummy.write"} <= set(before)


def test_the_default_user_has_all_permissions_and_is_disabled() -> None:
    # Some servers (Valkey 8.1) check its rights when they read transactions back, and drop what it may not do.
    users = (ROOT / "deploy/redis/users.acl").read_text("utf-8").splitlines()
    assert "user default off resetpass ~* &* +@all" in users


def test_the_configuration_is_one_that_workers_accept(server: Server) -> None:
    assert check_redis(connect(server.settings("worker"))) == []
    # An accepted job is on the disk before its client learns its id.
    observer = Redis("127.0.0.1", port=server.port, username="observer", password="observer", decode_responses=True)
    assert observer.config_get("append*")["appendfsync"] == "always"
    # No snapshots beside it: one that fails would make the server refuse all writes.
    assert observer.config_get("save") == {"save": ""}


def test_no_client_connects_without_a_password(server: Server) -> None:
    with pytest.raises(AuthenticationError):
        Redis("127.0.0.1", port=server.port, retry=Retry(NoBackoff(), 0)).ping()


def test_flower_cannot_read_jobs_or_sessions(server: Server) -> None:
    connect(server.settings("worker")).set("sapi:job:1", "secret")
    assert connect(server.settings("flower")).zcard("sapi:queued:dummy.write") == 0
    for user in ("flower", "flower-events"):
        with pytest.raises(NoPermissionError):
            connect(server.settings(user)).get("sapi:job:1")


@pytest.mark.parametrize("user", ["flower", "flower-events"])
@pytest.mark.parametrize(
    "command",
    [
        "SET sapi:session:x.write y", "ZADD sapi:workers:q 1 x", "SET sapi:x.celeryev y", "SET sapi:sessions_ended:x 0",
        "GET sapi:session:x", "DEL sapi:queued:dummy.write", "EXPIRE sapi:queued:dummy.write 1",
        "INCR sapi:queued:dummy.write", "LPUSH sapi:celery:dummy.write x", "DEL sapi:celery:dummy.write",
        "RPOP sapi:celery:dummy.write", "ZADD sapi:celery:unacked_index 1 x", "PUBLISH sapi:events x",
        "SUBSCRIBE sapi:events", "SUBSCRIBE sapi:ends", "PSUBSCRIBE *", "EVAL return(1) 0", "SCRIPT FLUSH",
        "SMEMBERS sapi:sessions_of:x", "COPY sapi:session:x sapi:celery:x.celeryev",
    ],
)  # fmt: skip
def test_flower_cannot_use_keys_of_the_service(server: Server, user: str, command: str) -> None:
    with pytest.raises(NoPermissionError):
        connect(server.settings(user)).execute_command(*command.split())


def test_the_webhook_process_can_send_and_cannot_read_sessions(server: Server, tmp_path: Path) -> None:
    receiver = HookReceiver()
    (tmp_path / "secret").write_text(SECRET, "utf-8")
    receivers = f'[ours]\nurl = "{receiver.url}"\nsecret = {{file = "secret"}}\n'
    (tmp_path / "webhooks.toml").write_text(receivers, "utf-8")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("SAPI_")},
        "SAPI_REDIS_URL": server.settings("webhooks").redis_url.get_secret_value(),
        "SAPI_SECRETS_DIR": str(tmp_path),
        "SAPI_HEALTH_DIR": str(tmp_path),
        "SAPI_CALLBACK_HOSTS": f"http://127.0.0.1:{receiver.port}",
    }
    command = [sys.executable, "-m", "worker.webhooks.main", "--node", "hooks"]
    client = connect(server.settings("worker"))
    with ended(subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)) as sender:
        until(lambda: client.exists("sapi:webhook_position"), sender)
        jobs = jobs_of(server.settings("worker"), client)
        new = NewJob(
            operation=OPERATIONS["delete_snapshot"],
            subsystem="filer",
            arguments={"volume": "v", "name": "s"},
            request={},
            target="/",
            requester="ann",
            request_id="r",
        )
        job_id = jobs.accept(new)[1]
        jobs.cancel(job_id, "ann")
        (hook,) = receiver.wait_for(1)
        # It is counted at the end, which needs a key of its own.
        until(lambda: client.hexists("sapi:metrics", "webhook ours delivered"), sender)
        check = [sys.executable, "-S", "-m", "worker.healthcheck", "--node", "hooks"]
        done = subprocess.run(check, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, "")
    receiver.close()
    assert (hook.body["type"], hook.body["data"]["id"]) == ("job.cancelled", job_id)
    for key in ("sapi:session:x", "sapi:result:x", "sapi:id-secret"):
        with pytest.raises(NoPermissionError):
            connect(server.settings("webhooks")).get(key)


@contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=30)


def jobs_of(settings: Settings, client: Redis) -> Jobs:
    scripts, ids = JobScripts(client, settings.key_prefix), JobIds(job_id_secret(client, settings.key_prefix))
    return Jobs(client, scripts, ids, create_publisher(settings), settings)


def until(so: Callable[[], object], sender: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while not so():
        assert sender.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    "key", ["session:x", "sessions_of:x", "sessions_ended:x", "attempts:user:x", "used_state:x", "limits:x", "limit/x"]
)
@pytest.mark.parametrize("command", ["GET", "DEL", "TTL"])
def test_a_worker_cannot_use_keys_of_sign_in(server: Server, command: str, key: str) -> None:
    with pytest.raises(NoPermissionError):
        connect(server.settings("worker")).execute_command(command, f"sapi:{key}")


def test_a_worker_may_use_every_other_key(server: Server) -> None:
    store = ROOT / "worker" / "store"
    texts = [path.read_text("utf-8") for path in (store / "keys.py", *(store / "lua").glob("*.lua"))]
    names = set(re.findall(r"(?:P \.\. '|\{self\.prefix\})([a-z_-]+:?)", "\n".join(texts)))
    client = connect(server.settings("worker"))
    assert len(names) > 50
    for name in sorted(names - {"sessions_of:", "sessions_ended:", "attempts:", "events", "ends"}):
        assert client.exists(f"sapi:{name}x" if name.endswith(":") else f"sapi:{name}") in (0, 1)


@pytest.mark.parametrize("key", ["sapi:session:x", "sapi:job:1", "sapi:celery:dummy.write", "sapi:sessions_ended:x"])
def test_a_script_of_flower_reaches_no_further(server: Server, key: str) -> None:
    client = connect(server.settings("flower-events"))
    # The key is not said beforehand, so that the script is begun.
    digest = client.script_load("return redis.call('SET', ARGV[1], '1')")
    with pytest.raises(ResponseError, match=r"(?i)permission|can't access"):
        client.evalsha(digest, 0, key)


def test_flower_counts_wrong_passwords_with_the_front_ends(server: Server) -> None:
    for user in ("flower-events", "api"):
        client = connect(server.settings(user))
        SignInAttempts(client, "sapi:", per_network=2, per_user=9).record_failure("svc", "192.0.2.1/32")
    for user in ("flower-events", "api"):
        attempts = SignInAttempts(connect(server.settings(user)), "sapi:", per_network=2, per_user=9)
        assert attempts.limit_reached(attempts.counts("svc", "192.0.2.1/32"), "svc", "192.0.2.1/32")


def test_flower_can_read_ended_sessions(server: Server) -> None:
    assert not have_ended(connect(server.settings("flower")), "sapi:", ["adam"], 1000.0)
    connect(server.settings("api")).set(f"sapi:sessions_ended:{ended_digest('adam')}", 2000)
    assert have_ended(connect(server.settings("flower")), "sapi:", ["adam"], 1000.0)
    assert not have_ended(connect(server.settings("flower")), "sapi:", ["adam"], 3000.0)


def test_flower_receives_events_of_workers(server: Server) -> None:
    flower, worker = (create_celery(server.settings(user)) for user in ("flower-events", "worker"))
    received = threading.Event()

    def listen() -> None:
        with flower.connection() as connection:
            receiver = flower.events.Receiver(connection, handlers={"worker-online": lambda _event: received.set()})
            for _ in receiver.consume(limit=None, timeout=30, wakeup=True):
                if received.is_set():
                    return

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    with worker.connection_for_write() as connection:
        dispatcher = worker.events.Dispatcher(connection)
        while thread.is_alive() and not received.wait(0.2):
            dispatcher.send("worker-online")
            dispatcher.flush()
        dispatcher.send("worker-online")
        dispatcher.flush()
    thread.join()
    assert received.is_set()


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("command", ["CONFIG GET maxmemory", "ACL LIST", "FLUSHALL", "KEYS *", "SHUTDOWN NOSAVE"])
def test_no_user_may_run_admin_commands(server: Server, user: str, command: str) -> None:
    with pytest.raises(NoPermissionError):
        connect(server.settings(user)).execute_command(*command.split())


def test_secrets_stay_when_made_again(server: Server) -> None:
    before = server.settings("api").redis_url
    make_all(ROOT / "deploy/redis/users.acl", server.folder)
    assert server.settings("api").redis_url == before
