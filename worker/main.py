"""A worker process: ``python -m worker.main --node quick1 --queues write,read``."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from celery import Celery, signals

from storage_backends.configuration.subsystems import ConfigurationError, Subsystem, Subsystems
from worker.catalog.operations import QueueClass
from worker.config.logs import configure_logging
from worker.config.python_interpreter import configure_interpreter
from worker.config.settings import BadSettings, Settings, load
from worker.messaging.app import required_settings
from worker.messaging.worker_loop import run_worker
from worker.runtime import Runtime, build
from worker.store.startup_checks import UnsafeRedis
from worker.telemetry import tracing


def check_celery(celery: Celery) -> None:
    """Check Celery's settings: with some values it would lose or duplicate messages.

    Raises:
        BadSettings: one is wrong; the message names it.
    """
    for name, value in required_settings(celery.conf.broker_url).items():
        if celery.conf[name] != value:
            raise BadSettings(
                f"Celery's {name} must be {value!r}, not {celery.conf[name]!r}: jobs would be lost or doubled"
            )


def _selected(subsystems: Subsystems, names_text: str) -> dict[str, Subsystem]:
    """The subsystems that this worker serves."""
    every = dict(subsystems)
    names = [name.strip() for name in names_text.split(",") if name.strip()] or list(every)
    unknown = [name for name in names if name not in every]
    if unknown:
        raise BadSettings(f"SAPI_SUBSYSTEMS names {', '.join(unknown)}, which SAPI_BACKENDS does not configure")
    return {name: every[name] for name in names}


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="worker", description="Carry out storage jobs.")
    parser.add_argument("--node", default="worker", help="name of this process, unique on its host")
    parser.add_argument("--queues", default="write,read,list", help="which of write, read, list it serves")
    return parser.parse_args(argv)


def _connect_signals(runtime: Runtime) -> None:
    def ready(**_: Any) -> None:
        runtime.start()
        configure_interpreter()

    def shutting_down(**_: Any) -> None:
        runtime.begin_drain()

    def shutdown(**_: Any) -> None:
        runtime.stop()

    def logging(**_: Any) -> None:
        """Connected to Celery's signal so that Celery does not configure logging."""

    signals.setup_logging.connect(logging, weak=False)
    signals.worker_ready.connect(ready, weak=False)
    signals.worker_shutting_down.connect(shutting_down, weak=False)
    signals.worker_shutdown.connect(shutdown, weak=False)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a worker until it is stopped."""
    arguments = _arguments(argv)
    try:
        settings = load(Settings)
        configure_logging(arguments.node, settings.log_level)
        tracing.configure("storage-api-worker")
        queue_classes = [QueueClass(queue_class) for queue_class in arguments.queues.split(",")]
        subsystems = _selected(Subsystems.from_environment(os.environ), settings.subsystems)
        hostname = f"{arguments.node}@{os.uname().nodename}"
        runtime = build(settings, subsystems, queue_classes, hostname)
        check_celery(runtime.celery)
    except (BadSettings, ConfigurationError, UnsafeRedis, ValueError) as exc:
        print(f"worker: {exc}", file=sys.stderr)  # noqa: T201 - the one line that says what to mend
        return 2
    _connect_signals(runtime)
    return run_worker(runtime.celery, queues=runtime.queues, threads=runtime.threads, hostname=hostname)


def _end(_number: int, _frame: object) -> None:
    """End on SIGTERM while nothing is carried out yet; Celery sets a handler of its own when it starts.

    The first process of a container gets no signal for which it has none, and would wait for Redis until it is killed.
    """
    sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    sys.exit(main())
