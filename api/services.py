"""The parts that a front end process works with, built once; nothing here needs Redis to be there yet."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import BoundedSemaphore
from typing import Self

import redis
from flask import current_app

from api.settings import ApiSettings
from storage_backends.configuration.subsystems import Subsystems
from worker.config.settings import Settings, load
from worker.jobs.ids import JobIds
from worker.jobs.notifications import Events
from worker.jobs.replies import Answers
from worker.jobs.service import Jobs
from worker.listings.process_cache import HotListings
from worker.listings.repository import Listings
from worker.messaging.publisher import Bell, create_bell
from worker.store.client import Scripts, connect, job_id_secret

EXTENSION = "storage-api"


@dataclass(frozen=True)
class Parts:
    """What views and what stands behind them work with; held in ``app.extensions``."""

    settings: Settings
    config: ApiSettings
    subsystems: tuple[str, ...]
    redis: redis.Redis
    scripts: Scripts
    events: Events
    answers: Answers
    listings: Listings
    hot: HotListings
    bell: Bell
    _jobs: list[Jobs] = field(default_factory=list, repr=False)

    @classmethod
    def build(cls, settings: Settings, config: ApiSettings, subsystems: tuple[str, ...]) -> Self:
        """Put the parts together; connects to nothing."""
        client = connect(settings)
        room = BoundedSemaphore(config.max_waiting)
        scripts = Scripts(client, settings.key_prefix, replicas=settings.wait_replicas)
        listings = Listings(client, scripts, settings)
        return cls(
            settings,
            config,
            subsystems,
            client,
            scripts,
            Events(client, settings.key_prefix, room),
            Answers(client, settings.key_prefix, room),
            listings,
            HotListings(listings, config.hot_bytes),
            create_bell(settings),
        )

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Build them from what the process is told.

        Raises:
            BadSettings, ConfigurationError: one line that says what to mend.
        """
        names = Subsystems.names_from_environment(environ)
        return cls.build(load(Settings), load(ApiSettings), names)

    @property
    def jobs(self) -> Jobs:
        """The job records. The secret of their ids is in Redis: without it, the first use raises what redis-py does."""
        if not self._jobs:
            # Two threads may come here at once: both make the same, and either is kept.
            ids = JobIds(job_id_secret(self.redis, self.settings.key_prefix))
            self._jobs.append(Jobs(self.redis, self.scripts, ids, self.bell, self.settings))
        return self._jobs[0]


def parts() -> Parts:
    """Return the parts of the application at hand."""
    held = current_app.extensions[EXTENSION]
    assert isinstance(held, Parts)  # noqa: S101 - put there by create_app
    return held
