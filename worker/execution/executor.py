"""Carries one claimed job out on its storage system, and turns whatever comes of it into the end of the job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson
import structlog

from storage_backends.base import StorageBackend
from storage_backends.errors import BackendUnavailable, OutcomeUnclear, StorageError
from storage_backends.journal import Cancelled, HandedOn, LeaseLost, Stopped, TimedOut
from storage_backends.models import parse_reference
from worker.backends.gateway import Filer
from worker.catalog.ordering_keys import volume_order_key
from worker.catalog.resource_types import View
from worker.config.json_encoding import as_json
from worker.config.settings import Settings
from worker.execution.claims import Desk, End
from worker.execution.lease import Lease
from worker.jobs.record import DETAILS, Failure, State
from worker.jobs.status import INLINE_RESULT_BYTES
from worker.listings.listing import Listing
from worker.listings.repository import Listings
from worker.listings.updates import Effects
from worker.store.client import RedisAway

log = structlog.get_logger(__name__)

_LONGEST_DELAY_S = 8.0


def failure_of(error: StorageError) -> Failure:
    """A storage error as the end of a job tells it."""
    backend_error = None
    if error.backend_error is not None:
        backend_error = {"code": error.backend_error.code, "message": error.backend_error.message}
    errors = tuple({"pointer": wrong.pointer, "detail": wrong.detail} for wrong in error.errors)
    return Failure(error.code, error.detail, error.retryable, backend_error, errors)


class Performer:
    """Carries jobs out, in whatever thread asks."""

    def __init__(self, desk: Desk, filers: Mapping[str, Filer], listings: Listings, settings: Settings) -> None:
        self._desk = desk
        self._filers = filers
        self._listings = listings
        self._effects = Effects(listings)
        self._settings = settings

    def perform(self, lease: Lease) -> End | None:
        """Carry the job out; its end, or None when it has not ended here."""
        try:
            return self._perform(lease)
        finally:
            # Whatever went wrong: a job that nobody carries out must not be renewed.
            self._desk.forget(lease)

    def _perform(self, lease: Lease) -> End | None:
        if lease.job.subsystem not in self._filers:
            log.error("job.not-mine", job_id=lease.job_id, subsystem=lease.job.subsystem, hint="rung in a wrong queue")
            self._desk.leave(lease)
            return None
        try:
            with self._filers[lease.job.subsystem].asked() as backend:
                end = self._run(backend, lease)
        except Stopped as stopped:
            return self._stopped(lease, stopped)
        except StorageError as error:
            return self._failed(lease, error)
        except RedisAway as exc:
            return self._without_redis(lease, exc)
        except Exception:
            log.exception("job.crashed", job_id=lease.job_id)
            return self._crashed(lease)
        return self._hand_in(lease, end) if end is not None else None

    # --- carrying out

    def _run(self, backend: StorageBackend, lease: Lease) -> End | None:
        operation = lease.job.operation
        arguments = dict(lease.job.arguments)
        if lease.job.references:
            names = self._resolved(backend, lease, arguments)
            arguments |= names
            if operation.is_change and not self._take_turn(lease, arguments, names):
                return None
            # After a failure half way, it is this volume that is looked at.
            lease.job = replace(lease.job, arguments=arguments)
        if operation.reads is not None:
            return self._read(backend, lease, operation.reads, arguments)
        value = operation.run(backend, arguments, lease)
        return self._done(lease, arguments, value)

    def _resolved(self, backend: StorageBackend, lease: Lease, arguments: Mapping[str, Any]) -> dict[str, str]:
        """The names of the volumes that paths mean now."""
        names = {}
        state = self._listings.volumes_state(lease.job.subsystem)
        for argument in lease.job.references:
            path = parse_reference(arguments[argument])
            names[argument] = backend.get_volume(arguments[argument], journal=lease).name
            if path is not None:
                self._learn_alias(lease.job.subsystem, path.junction_path, names[argument], state)
        return names

    def _learn_alias(self, subsystem: str, junction_path: str, name: str, state: str) -> None:
        try:
            self._listings.learn_alias(subsystem, junction_path, name, state, self._settings.cache_fresh)
        except RedisAway as exc:
            # Only spares later readers a look; a change goes on without.
            log.info("alias.not-learnt", subsystem=subsystem, error=type(exc).__name__)

    def _take_turn(self, lease: Lease, arguments: Mapping[str, Any], names: Mapping[str, str]) -> bool:
        keys = [volume_order_key(name) for name in names.values()]
        return self._desk.resolve(lease, keys, {"arguments": as_json(arguments).decode()})

    def _read(self, backend: StorageBackend, lease: Lease, view: View, arguments: Mapping[str, Any]) -> End:
        subsystem = lease.job.subsystem
        thing = view.thing(subsystem, arguments)
        parent = view.parent.thing(subsystem, arguments) if view.parent else ""
        started = self._listings.begin(view, thing, parent, self._settings.read_limit * 1000)
        value = lease.job.operation.run(backend, arguments, lease)
        lease.checkpoint()
        answer = orjson.dumps(value)
        records = [orjson.loads(answer)] if view.single else orjson.loads(answer)
        commit = self._listings.store(started, Listing.of(view.key_field, records, ordered=view.ordered))
        fields = {
            "result_thing": thing,
            "result_base": commit["base"],
            "result_base_seq": str(started.seq),
            "result_seq": str(started.seq),
            "arguments": as_json(arguments).decode(),
        }
        small = answer if view.single or len(answer) <= INLINE_RESULT_BYTES else b""
        return End(State.SUCCEEDED, result=small, fields=fields | {"result_bytes": str(len(answer))}, steps=[commit])

    def _done(self, lease: Lease, arguments: Mapping[str, Any], value: Any) -> End:
        steps = self._effects.of_success(lease.job.operation, lease.job.subsystem, arguments, value)
        return End(State.SUCCEEDED, result=b"null" if value is None else orjson.dumps(value), steps=steps)

    # --- what may come of it

    def _stopped(self, lease: Lease, stopped: Stopped) -> End | None:
        nothing_sent = lease.step is None
        if isinstance(stopped, LeaseLost):
            log.warning("job.lost", job_id=lease.job_id, hint="another worker has it, or settles it")
        elif isinstance(stopped, Cancelled):
            return self._hand_in(lease, End(State.CANCELLED))
        elif isinstance(stopped, HandedOn) and nothing_sent:
            self._desk.put_back(lease, 0, counts=False)
        elif isinstance(stopped, TimedOut) and nothing_sent:
            return self._hand_in(lease, End(State.FAILED, Failure("timed-out", DETAILS["timed-out"], retryable=True)))
        else:
            self._desk.release(lease, "timed-out" if isinstance(stopped, TimedOut) else "")
        return None

    def _failed(self, lease: Lease, error: StorageError) -> End | None:
        if isinstance(error, OutcomeUnclear):
            self._desk.release(lease, "backend-timeout")
            return None
        if error.transient and self._patience_left(lease):
            reason = "backend-unavailable" if isinstance(error, BackendUnavailable) else "retrying"
            self._desk.put_back(lease, self._delay_s(lease), reason)
            return None
        steps = None
        if lease.step is not None and not error.transient:
            steps = self._look_again(lease)
        return self._hand_in(lease, End(State.FAILED, failure_of(error), steps=steps))

    def _look_again(self, lease: Lease) -> list[dict[str, Any]]:
        """After a failure half way: what the listings must show now."""
        job = lease.job
        try:
            with self._filers[job.subsystem].asked() as backend:
                return self._effects.of_truth(job.operation, job.subsystem, job.arguments, backend, lease)
        except (StorageError, Stopped, *RedisAway):
            return self._effects.of_doubt(job.operation, job.subsystem, job.arguments)

    def _crashed(self, lease: Lease) -> End | None:
        if lease.step is not None:
            self._desk.release(lease, "backend-error")
            return None
        detail = "The service failed inside while it carried the job out; nothing was changed. Its log has the details."
        return self._hand_in(lease, End(State.FAILED, Failure("backend-error", detail)))

    def _without_redis(self, lease: Lease, exc: Exception) -> End | None:
        log.warning("job.redis-away", job_id=lease.job_id, error=type(exc).__name__)
        if lease.step is not None:
            self._desk.release(lease, "")
        elif self._patience_left(lease):
            self._desk.put_back(lease, self._delay_s(lease), "retrying")
        else:
            detail = "The service has no room for the answer, or could not reach its queue for too long."
            return self._hand_in(lease, End(State.FAILED, Failure("backend-error", detail, retryable=True)))
        return None

    def _hand_in(self, lease: Lease, end: End) -> End | None:
        return end if self._desk.finish(lease, end) else None

    def _patience_left(self, lease: Lease) -> bool:
        first, started = lease.job.first_failure_ms, lease.job.started_ms
        return first is None or started is None or started - first < self._settings.backend_patience * 1000

    def _delay_s(self, lease: Lease) -> float:
        return min(_LONGEST_DELAY_S, 0.5 * 2.0 ** max(0, lease.job.attempt - 1))
