"""How the processes that Celery runs are put together and started: their options, signals and refusals."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from base64 import b64decode
from functools import partial
from pathlib import Path
from signal import SIGTERM
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from celery import Celery, signals

from tests.worker.harness import PREFIX, Harness
from tests.worker.webhooks.receiver import SECRET
from worker import health_report, runtime
from worker import main as worker_process
from worker.config.settings import Settings, load
from worker.execution.process_exit import restart_silent_worker
from worker.messaging.app import create_celery
from worker.messaging.worker_loop import run_worker
from worker.store.client import connect
from worker.webhooks import main as webhook_process
from worker.webhooks import tasks as webhook_tasks
from worker.webhooks.dispatcher import WAIT_MS
from worker.webhooks.receivers import Receiver
from worker.webhooks.settings import WebhookSettings
from worker.webhooks.tasks import QUEUE, TASK

_OPTIONS = {"pool_cls": "threads", "without_gossip": True, "without_mingle": True, "task_events": True, "quiet": True}


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, redis_url: str, harness: Harness, tmp_path: Path) -> dict[str, Any]:
    """The options with which Celery's worker was started, which ends at once; nothing of the process is changed."""
    options: dict[str, Any] = {}

    class Worker:
        exitcode = 0

        def __init__(self, _celery: Celery, **given: Any) -> None:
            self._given = given

        def start(self) -> None:
            options.update(self._given)

    monkeypatch.setattr(Celery, "Worker", property(lambda celery: partial(Worker, celery)))
    for name in ("setup_logging", "worker_ready", "worker_shutting_down", "worker_shutdown"):
        monkeypatch.setattr(getattr(signals, name), "receivers", [])
    for module in (worker_process, webhook_process):
        monkeypatch.setattr(module, "configure_logging", lambda *_: None)
    monkeypatch.setenv("RES_OPTIONS", "")
    monkeypatch.delenv("RES_OPTIONS")
    monkeypatch.setenv("SAPI_REDIS_URL", redis_url)
    monkeypatch.setenv("SAPI_HEALTH_DIR", str(tmp_path))
    monkeypatch.setenv("SAPI_BACKENDS", f"filer🌈DummyStorage🌈state_dir🌈{harness.folder}")
    return options


def test_a_worker_serves_its_queues_with_a_thread_for_each_slot_and_some_more(
    started: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    connections: list[int] = []

    def connect_noting(settings: Settings, **options: Any) -> Any:
        connections.append(options["connections"])
        return connect(settings, **options)

    monkeypatch.setattr(runtime, "connect", connect_noting)
    assert worker_process.main(["--node", "quick"]) == 0
    assert started == _OPTIONS | {
        "concurrency": 8 + 8 + 4 + 8, "queues": ["filer.write", "filer.read", "filer.list"],
        "hostname": f"quick@{os.uname().nodename}",
    }  # fmt: skip
    # Each thread may need several at a time.
    assert connections == [200]
    assert worker_process.main(["--queues", "list"]) == 0
    assert (started["queues"], started["hostname"]) == (["filer.list"], f"worker@{os.uname().nodename}")


@pytest.mark.parametrize(
    ("environ", "arguments", "words"),
    [
        ({"SAPI_SUBSYSTEMS": "none"}, [], "SAPI_SUBSYSTEMS"),
        ({}, ["--queues", "write,odd"], "odd"),
        ({"SAPI_BACKENDS": ""}, [], "SAPI_BACKENDS"),
    ],
)
def test_a_worker_with_an_invalid_setting_does_not_start(
    started: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], environ: Any,
    arguments: list[str], words: str,
):  # fmt: skip
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert worker_process.main(arguments) == 2
    assert words in capsys.readouterr().err
    assert started == {}


def test_a_worker_refuses_settings_of_celery_that_lose_messages(
    started: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def other(*arguments: Any, **options: Any) -> Celery:
        celery = create_celery(*arguments, **options)
        celery.conf.task_acks_late = not celery.conf.task_acks_late
        return celery

    monkeypatch.setattr(runtime, "create_celery", other)
    assert worker_process.main([]) == 2
    assert "task_acks_late" in capsys.readouterr().err
    assert started == {}


def test_a_worker_consumes_without_acknowledgements_or_orders_and_below_its_prefix(redis_url: str):
    conf = create_celery(load(Settings, redis_url=redis_url, key_prefix="mine:"), consumed=["filer.write"]).conf
    assert [(queue.name, queue.no_ack) for queue in conf.task_queues] == [("filer.write", True)]
    assert (conf.worker_enable_remote_control, conf.worker_send_task_events) == (False, True)
    assert conf.broker_transport_options["global_keyprefix"] == "mine:celery:"
    # Connections whose producer could not be made are not lost, nor do events wait for a Flower that is gone.
    assert conf.broker_pool_limit == 0
    # It reconnects for as long as it takes, also after the broker has closed a channel.
    assert (conf.broker_connection_max_retries, conf.broker_channel_error_retry) == (None, True)
    assert 0 < conf.event_queue_ttl <= conf.event_queue_expires <= 60


def test_a_worker_tests_its_connections_and_a_process_that_publishes_gives_up_soon(redis_url: str):
    for url in (redis_url, "amqp://127.0.0.1:1//"):
        settings = load(Settings, broker_url=url, redis_timeout=3)
        worker, front_end = (
            create_celery(settings, consumed=queues).conf.broker_transport_options for queues in (["filer.write"], [])
        )
        assert front_end["max_retries"] == 1
        if url == redis_url:
            for limit in ("socket_timeout", "socket_connect_timeout"):
                assert (worker[limit], front_end[limit]) == (3, 3)
            assert (worker["health_check_interval"], worker["retry_on_timeout"]) == (5, True)
            assert "health_check_interval" not in front_end
        else:
            # A worker waits for messages as long as there are none.
            assert "read_timeout" not in worker
            assert (front_end["read_timeout"], front_end["write_timeout"]) == (5, 5)


@pytest.mark.parametrize(("consumed", "heartbeat_s"), [(["filer.write"], 10), ([], 0)])
def test_only_a_process_with_a_loop_has_heartbeats_at_rabbitmq(consumed: list[str], heartbeat_s: int):
    settings = load(Settings, broker_url="amqp://127.0.0.1:1//")
    assert create_celery(settings, consumed=consumed).conf.broker_heartbeat == heartbeat_s


def _signalled(part: Any, module: Any) -> None:
    module._connect_signals(part)
    assert [response for _, response in signals.setup_logging.send(None)] == [None]
    for signal in (signals.worker_ready, signals.worker_shutting_down, signals.worker_shutdown):
        signal.send(None)


@pytest.mark.usefixtures("started")
@pytest.mark.parametrize(("exitcode", "status"), [(None, 0), (0, 0), (70, 70)])
def test_a_process_ends_with_the_status_that_celery_s_worker_has(exitcode: int | None, status: int):
    celery: Any = SimpleNamespace(Worker=lambda **_: SimpleNamespace(start=lambda: None, exitcode=exitcode))
    assert run_worker(celery, queues=["queue"], threads=1, hostname="node@host") == status


_FLOWER_STARTS = """
import os
for variable, value in (("SAPI_BACKENDS", "x🌈Unknown"), ("SAPI_SESSION_LIFETIME", "1"), ("SAPI_REDIS_URL", "odd")):
    os.environ[variable] = value
    try:
        import worker.flower.app
    except SystemExit as end:
        print(variable, end.code)
    del os.environ[variable]
"""


def test_flower_with_an_invalid_setting_does_not_start():
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SAPI_")}
    done = subprocess.run(
        [sys.executable, "-c", _FLOWER_STARTS], env=environ | {"SAPI_DEBUG": "true"}, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["SAPI_BACKENDS 2", "SAPI_SESSION_LIFETIME 2", "SAPI_REDIS_URL 2"], done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("flower cannot start: ") for line in lines)


def test_a_worker_that_waits_for_redis_handles_sigterm(tmp_path: Path):
    """Without a handler the first process of a container ignores it; elsewhere the signal would end the process."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SAPI_")}
    ours = {"SAPI_REDIS_URL": f"unix://{tmp_path}/none", "SAPI_BACKENDS": "filer🌈DummyStorage"}
    with subprocess.Popen(
        [sys.executable, "-m", "worker.main"], env=kept | ours, stderr=subprocess.PIPE, text=True
    ) as waiting:
        assert waiting.stderr is not None
        assert "redis.unavailable" in waiting.stderr.readline()
        waiting.terminate()
        assert waiting.wait(timeout=20) == 128 + SIGTERM


def test_celery_s_signals_start_and_end_a_worker(monkeypatch: pytest.MonkeyPatch):
    calls: list[str] = []
    part = SimpleNamespace(
        start=lambda: calls.append("start"),
        begin_drain=lambda: calls.append("drain"),
        stop=lambda: calls.append("stop"),
    )
    monkeypatch.setattr(worker_process, "configure_interpreter", lambda: calls.append("interpreter"))
    _signalled(part, worker_process)
    assert calls == ["start", "interpreter", "drain", "stop"]


@pytest.mark.usefixtures("started")
def test_celery_s_signals_start_and_end_a_webhook_process():
    calls: list[str] = []
    part = SimpleNamespace(start=lambda: calls.append("start"), stop=lambda: calls.append("stop"))
    _signalled(part, webhook_process)
    assert calls == ["start", "stop"]


def test_a_webhook_process_needs_no_name_server_and_refuses_a_weak_secret(
    started: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    assert webhook_process.main(["--node", "hooks"]) == 0
    assert started == _OPTIONS | {
        "concurrency": 16, "queues": ["webhooks"], "hostname": f"hooks@{os.uname().nodename}",
    }  # fmt: skip
    assert os.environ["RES_OPTIONS"] == "timeout:2 attempts:2"
    monkeypatch.setenv("SAPI_CALLBACK_SECRET", "short")
    assert webhook_process.main([]) == 2
    assert "SAPI_CALLBACK_SECRET" in capsys.readouterr().err


@pytest.mark.parametrize("secret", ["", SECRET])
def test_a_webhook_process_sends_no_callbacks_without_a_secret(redis_url: str, secret: str):
    settings = load(Settings, redis_url=redis_url, callback_hosts="hooks.example")
    webhook_settings = load(WebhookSettings, callback_secret=secret, public_url="https://example.org/storage/")
    celery, dispatcher = webhook_process.build(settings, webhook_settings, {}, "hooks")
    task: Any = celery.tasks[TASK]
    assert dispatcher._path_prefix == "/storage"
    assert (task._callback_secret, dispatcher._callbacks) == (secret, bool(secret))
    assert task._hosts.allow("https://hooks.example/x")
    assert task._publish_next == dispatcher.publish_next
    # Until it consumes messages it is silent.
    assert dispatcher._consumer._silent_s() > 0
    assert dispatcher._consumer._restart is restart_silent_worker


@pytest.mark.usefixtures("started")
def test_a_webhook_process_makes_publishes_and_sends_deliveries(
    harness: Harness, redis_url: str, monkeypatch: pytest.MonkeyPatch
):
    # Waiting for events may take longer than any other command.
    settings = load(Settings, redis_url=redis_url, redis_timeout=0.1)
    receivers = {"one": Receiver("one", "https://hooks.example/x", SECRET)}
    celery, dispatcher = webhook_process.build(settings, load(WebhookSettings), receivers, "hooks")
    assert [queue.name for queue in celery.conf.task_queues] == [QUEUE]
    dispatcher.dispatch(1)
    dispatcher.dispatch(150)
    job_id = harness.accept("create_volume")
    harness.node().carry_out(job_id)
    dispatcher.dispatch(WAIT_MS)
    dispatcher.publish_due()
    (message,) = harness.client.lrange(f"{PREFIX}celery:{QUEUE}", 0, -1)
    monkeypatch.setattr(webhook_tasks, "post", post := Mock(return_value=204))
    celery.tasks[TASK].run(*json.loads(b64decode(json.loads(message)["body"]))[0])
    url, body, *_ = post.call_args.args
    assert (url, json.loads(body)["data"]["id"]) == ("https://hooks.example/x", job_id)
    assert harness.client.hget(f"{PREFIX}metrics", "webhook one delivered") == b"1"
    dispatcher._report(health_report.OK)
    assert (health_report.read("hooks") or ())[1:] == (health_report.OK,)


@pytest.mark.usefixtures("started")
@pytest.mark.parametrize(
    ("module", "node", "service"),
    [(worker_process, "worker", "storage-api-worker"), (webhook_process, "webhooks", "storage-api-webhooks")],
)
def test_a_process_configures_its_log_and_its_traces_and_listens_to_signals(
    monkeypatch: pytest.MonkeyPatch, module: Any, node: str, service: str
):
    calls: list[tuple[str, ...]] = []
    monkeypatch.setattr(module, "configure_logging", lambda *arguments: calls.append(arguments))
    monkeypatch.setattr(module.tracing, "configure", lambda *arguments: calls.append(arguments))
    monkeypatch.setenv("SAPI_LOG_LEVEL", "WARNING")
    assert module.main([]) == 0
    assert calls == [(node, "WARNING"), (service,)]
    assert [len(each.receivers) for each in (signals.worker_ready, signals.worker_shutting_down)] == [1, 1]


@pytest.mark.parametrize(("module", "name"), [(worker_process, "worker"), (webhook_process, "webhooks")])
def test_help_names_the_process_and_its_options(module: Any, name: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit, match="0"):
        module.main(["--help"])
    assert capsys.readouterr().out.startswith(f"usage: {name} [-h] [--node NODE]")
