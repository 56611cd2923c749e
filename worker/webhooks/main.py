"""A process that sends webhooks: ``python -m worker.webhooks.main --node webhooks``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

from celery import Celery, signals

from worker.config.callback_hosts import CallbackHosts
from worker.config.logs import configure_logging
from worker.config.settings import BadSettings, Settings, load
from worker.execution.process_exit import restart_silent_worker
from worker.jobs.event_log import EventLog
from worker.maintenance.health_reporter import report_health
from worker.messaging.app import create_celery
from worker.messaging.consumer import use_consumer
from worker.messaging.worker_loop import run_worker
from worker.store.client import connect
from worker.store.scripts import JobScripts
from worker.telemetry import tracing
from worker.webhooks.dispatcher import WAIT_MS, Dispatcher
from worker.webhooks.outbox import Outbox
from worker.webhooks.receivers import Receiver, check_secret, read_receivers
from worker.webhooks.settings import WebhookSettings
from worker.webhooks.tasks import QUEUE, DeliverTask, publisher

#: For glibc's resolver (resolv.conf(5)): by default a name whose server does not answer holds a thread for 10 to 30 s.
_RESOLVER_OPTIONS = "timeout:2 attempts:2"
_THREADS = 16


def build(
    settings: Settings, webhook_settings: WebhookSettings, receivers: dict[str, Receiver], node: str
) -> tuple[Celery, Dispatcher]:
    """Build the process without starting it."""
    client = connect(settings, connections=50)
    scripts = JobScripts(client, settings.key_prefix)
    outbox = Outbox(client, scripts, settings.key_prefix)
    # It waits for events, and after that as long for the answer as any command may take.
    waiting = connect(settings, command_timeout_s=WAIT_MS / 1000 + settings.redis_timeout, connections=2)
    celery = create_celery(settings, consumed=[QUEUE])
    activity = use_consumer(celery)
    secret = webhook_settings.callback_secret.get_secret_value()
    dispatcher = Dispatcher(
        EventLog(waiting, settings.key_prefix),
        outbox,
        scripts,
        receivers,
        publisher(celery),
        callbacks=bool(secret),
        path_prefix=webhook_settings.path_prefix,
        report_health=partial(report_health, node),
        silent_s=activity.silent_s,
        restart=restart_silent_worker,
    )
    hosts = CallbackHosts(settings.callback_hosts)
    celery.register_task(DeliverTask(outbox, receivers, secret, hosts, dispatcher.publish_next))
    return celery, dispatcher


def main(argv: Sequence[str] | None = None) -> int:
    """Run until stopped."""
    parser = argparse.ArgumentParser(prog="webhooks", description="Send webhooks.")
    parser.add_argument("--node", default="webhooks", help="name of this process, unique on its host")
    node = parser.parse_args(argv).node
    os.environ.setdefault("RES_OPTIONS", _RESOLVER_OPTIONS)
    try:
        settings, webhook_settings = load(Settings), load(WebhookSettings)
        configure_logging(node, settings.log_level)
        tracing.configure("storage-api-webhooks")
        if webhook_settings.callback_secret.get_secret_value():
            check_secret(webhook_settings.callback_secret.get_secret_value(), "SAPI_CALLBACK_SECRET")
        celery, dispatcher = build(settings, webhook_settings, read_receivers(webhook_settings), node)
    except BadSettings as exc:
        print(f"webhooks: {exc}", file=sys.stderr)  # noqa: T201 - the one line that says what to mend
        return 2
    _connect_signals(dispatcher)
    return run_worker(celery, queues=[QUEUE], threads=_THREADS, hostname=f"{node}@{os.uname().nodename}")


def _connect_signals(dispatcher: Dispatcher) -> None:
    def ready(**_: Any) -> None:
        dispatcher.start()

    def shutting_down(**_: Any) -> None:
        dispatcher.stop()

    def logging(**_: Any) -> None:
        """Connected to Celery's signal so that Celery does not configure logging."""

    signals.setup_logging.connect(logging, weak=False)
    signals.worker_ready.connect(ready, weak=False)
    signals.worker_shutting_down.connect(shutting_down, weak=False)


if __name__ == "__main__":
    sys.exit(main())
