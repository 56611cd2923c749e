"""The Celery application as Flower opens it: ``celery -A worker.flower flower``."""

from __future__ import annotations

from worker.celery_app import create_celery
from worker.settings import Settings, load

app = create_celery(load(Settings))
