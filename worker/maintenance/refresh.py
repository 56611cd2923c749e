"""Refreshes volume listings on schedule, so that reads find them cached; one worker starts each refresh."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import redis

from worker.catalog.operations import LIST_VOLUMES
from worker.config.settings import Settings
from worker.jobs.service import Jobs, NewJob
from worker.store.keys import Keys


class Refresh:
    """A task of the maintenance loop, so that no separate scheduler process is needed."""

    def __init__(self, client: redis.Redis, jobs: Jobs, settings: Settings, subsystems: Sequence[str]) -> None:
        self._redis = client
        self._jobs = jobs
        self._settings = settings
        self._subsystems = subsystems
        self._keys = Keys(settings.key_prefix)

    def __call__(self) -> None:
        interval_s = self._settings.refresh_interval
        if not interval_s:
            return
        for subsystem in self._subsystems:
            if self._redis.set(self._keys.refresh(subsystem), "1", nx=True, ex=interval_s):
                self._jobs.accept(self._job(subsystem))

    def _job(self, subsystem: str) -> NewJob:
        return NewJob(
            operation=LIST_VOLUMES,
            subsystem=subsystem,
            arguments={},
            request={},
            target=f"/v4/{subsystem}/volumes",
            requester="",
            request_id=f"refresh-{secrets.token_hex(8)}",
            refresh=True,
        )
