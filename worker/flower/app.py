"""The Celery application as Flower opens it: ``celery -A worker.flower.app:app flower``."""

from __future__ import annotations

import sys

from celery import Celery

from worker.config.settings import BadSettings, Settings, load
from worker.flower.auth import guard
from worker.flower.settings import FlowerSettings
from worker.messaging.app import create_celery


def _create() -> Celery:
    try:
        guard(load(FlowerSettings))
        return create_celery(load(Settings))
    except BadSettings as error:
        print(f"flower cannot start: {error}", file=sys.stderr)  # noqa: T201 - for whoever starts it
        raise SystemExit(2) from None


app = _create()
