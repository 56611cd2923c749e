"""The shared objects of a front end process, built once; nothing here needs a running Redis."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event
from types import MappingProxyType
from typing import Self

import redis
from flask import current_app, has_request_context

from api.limits.bodies_in_flight import BodiesInFlight
from api.limits.concurrency_limiter import ConcurrencyLimiter
from api.limits.slots import Slots, WaiterSlots
from api.settings import ApiSettings
from storage_backends.configuration.subsystems import Subsystems
from worker.config.callback_hosts import CallbackHosts
from worker.config.settings import Settings, load
from worker.jobs.batches import Batches
from worker.jobs.idempotency import IdempotencyKeys
from worker.jobs.ids import JobIds
from worker.jobs.notifications import JobNotifications
from worker.jobs.repeated_requests import HeldRequests
from worker.jobs.replies import ReplyQueue
from worker.jobs.service import Jobs
from worker.listings.process_cache import ListingCache
from worker.listings.repository import Listings
from worker.messaging.publisher import TaskPublisher, create_publisher
from worker.store.client import connect, job_id_secret, short_timeout_pool
from worker.store.redis_memory import RedisMemory
from worker.store.scripts import JobScripts
from worker.store.write_probe import WriteProbe

EXTENSION = "storage-api"
#: How long Redis may take to answer a request whose wait is over (seconds): no request lasts a second longer.
LAST_LOOK_S = 0.7


@dataclass(frozen=True)
class Services:
    """The objects that views and use cases share; an entry of ``app.extensions``."""

    settings: Settings
    config: ApiSettings
    subsystems: tuple[str, ...]
    redis: redis.Redis
    scripts: JobScripts
    events: JobNotifications
    answers: ReplyQueue
    listings: Listings
    listing_cache: ListingCache
    memory: RedisMemory
    write_probe: WriteProbe
    publisher: TaskPublisher
    held_requests: HeldRequests
    idempotency_keys: IdempotencyKeys
    #: The driver's class of each storage system, if known.
    drivers: Mapping[str, str]
    concurrency_limiter: ConcurrencyLimiter
    #: Slots for bodies that are being received.
    body_slots: Slots
    bodies_in_flight: BodiesInFlight
    #: The scripts with `LAST_LOOK_S`, for requests whose wait is over.
    short_timeout_scripts: JobScripts
    #: Set when the process shuts down.
    stopping: Event = field(repr=False)
    _jobs: list[Jobs] = field(default_factory=list, repr=False)
    _batches: list[Batches] = field(default_factory=list, repr=False)

    @classmethod
    def build(
        cls,
        settings: Settings,
        config: ApiSettings,
        subsystems: tuple[str, ...],
        drivers: Mapping[str, str] = MappingProxyType({}),
    ) -> Self:
        """Build the objects; opens no connections."""
        client = connect(settings)
        limiter = ConcurrencyLimiter(config.max_working, config.max_queued)
        waiting = Slots(config.max_waiting, config.user_places_share)
        waiter_slots = WaiterSlots(waiting, on_wait=limiter.pause, on_end=limiter.resume)
        scripts = JobScripts(client, settings.key_prefix, replicas=settings.wait_replicas)
        listings = Listings(client, scripts, settings)
        stopping = Event()
        return cls(
            settings,
            config,
            subsystems,
            client,
            scripts,
            JobNotifications(client, settings.key_prefix, waiter_slots),
            ReplyQueue(client, settings.key_prefix, waiter_slots, stopping),
            listings,
            ListingCache(listings, config.listing_cache_bytes),
            RedisMemory(client),
            WriteProbe(client, settings.key_prefix),
            create_publisher(settings),
            HeldRequests(client, scripts, settings.key_prefix),
            IdempotencyKeys(client, settings),
            drivers,
            limiter,
            Slots(config.max_bodies, config.user_places_share),
            BodiesInFlight(config.listing_cache_bytes // 2, config.user_places_share),
            JobScripts(
                redis.Redis(connection_pool=short_timeout_pool(client.connection_pool, LAST_LOOK_S)),
                settings.key_prefix,
            ),
            stopping,
        )

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Build them from the environment.

        Raises:
            BadSettings, ConfigurationError: one line that says what to mend.
        """
        drivers = Subsystems.drivers_from_environment(environ)
        return cls.build(load(Settings), load(ApiSettings), tuple(drivers), drivers)

    def stop(self) -> None:
        """Answer the requests that are held open, because the process shuts down."""
        self.stopping.set()
        self.events.wake_all()

    @property
    def callback_hosts(self) -> CallbackHosts:
        """The hosts to which callbacks may be sent."""
        return CallbackHosts(self.settings.callback_hosts)

    @property
    def jobs(self) -> Jobs:
        """The job records. The secret of their ids is in Redis: without it, the first use raises what redis-py does."""
        if not self._jobs:
            # Two threads may do this at the same time: both make the same object, and one is kept.
            ids = JobIds(job_id_secret(self.redis, self.settings.key_prefix))
            self._jobs.append(
                Jobs(self.redis, self.scripts, ids, self.publisher, self.settings, self.short_timeout_scripts)
            )
        return self._jobs[0]

    @property
    def batches(self) -> Batches:
        """The batches; as ``jobs``."""
        if not self._batches:
            jobs = self.jobs
            self._batches.append(Batches(self.redis, self.scripts, jobs, jobs.ids, self.publisher, self.settings))
        return self._batches[0]


@contextmanager
def permit_released() -> Iterator[None]:
    """Release the permit of the current request, if there is one, while it waits for something inside the block."""
    services = current_app.extensions.get(EXTENSION) if has_request_context() else None
    if not isinstance(services, Services):
        yield
        return
    services.concurrency_limiter.pause()
    try:
        yield
    finally:
        services.concurrency_limiter.resume()


def current_services() -> Services:
    """Return the services of the current application."""
    services = current_app.extensions[EXTENSION]
    assert isinstance(services, Services)  # noqa: S101 - put there by create_app
    return services
