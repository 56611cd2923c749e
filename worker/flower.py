"""The Celery application as Flower opens it: ``celery -A worker.flower flower``."""

from __future__ import annotations

import sys

from celery import Celery

from worker.celery_app import create_celery
from worker.flower_auth import guard
from worker.flower_settings import FlowerSettings
from worker.settings import BadSettings, Settings, load


def _create() -> Celery:
    try:
        guard(load(FlowerSettings))
        return create_celery(load(Settings))
    except BadSettings as error:
        print(f"flower cannot start: {error}", file=sys.stderr)  # noqa: T201 - for whoever starts it
        raise SystemExit(2) from None


app = _create()
