"""The Celery application as Flower opens it: ``celery -A worker.flower.app:app flower``."""

from __future__ import annotations

import os
import sys

from celery import Celery

from storage_backends.configuration.subsystems import ConfigurationError
from worker.config.settings import BadSettings, Settings, load
from worker.flower.auth import guard
from worker.flower.queues import queue_names, show_queues
from worker.flower.settings import FlowerSettings
from worker.messaging.app import create_celery


def _create() -> Celery:
    try:
        guard(load(FlowerSettings))
        settings = load(Settings)
        show_queues(settings, queue_names(os.environ))
        return create_celery(settings)
    except (BadSettings, ConfigurationError) as error:
        print(f"flower cannot start: {error}", file=sys.stderr)  # noqa: T201 - for whoever starts it
        raise SystemExit(2) from None


app = _create()
