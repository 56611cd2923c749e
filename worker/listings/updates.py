"""The effects of a change on the cached listings: steps that run in the same script as the end of its job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from storage_backends.base import StorageBackend
from storage_backends.errors import NotFound, StorageError
from storage_backends.journal import Journal
from worker.catalog import resource_types as views
from worker.catalog.operations import Operation
from worker.catalog.resource_types import ResourceType
from worker.listings.repository import Listings

Steps = list[dict[str, Any]]


class ListingUpdates:
    """Turns the declared effects of an operation into steps."""

    def __init__(self, listings: Listings) -> None:
        self._listings = listings

    def after_success(self, operation: Operation, subsystem: str, arguments: Mapping[str, Any], value: Any) -> Steps:
        """The steps after a change that succeeded and returned ``value``."""
        steps = []
        for effect in operation.effects:
            if effect.when and not arguments.get(effect.when):
                continue
            cache_key = effect.resource_type.cache_key(subsystem, arguments)
            if effect.what == "upsert":
                steps.append(self._upsert(effect.resource_type, cache_key, value))
            elif effect.what == "delete":
                steps.append(self._listings.step("delete", cache_key, str(arguments[effect.key])))
            else:
                steps.append(self._listings.step("invalidate", cache_key))
        return steps

    def invalidate(self, operation: Operation, subsystem: str, arguments: Mapping[str, Any]) -> Steps:
        """The steps where the outcome of a change is unknown: all listings that it may affect are invalidated."""
        cache_keys = {effect.resource_type.cache_key(subsystem, arguments) for effect in operation.effects}
        return [self._listings.step("invalidate", cache_key) for cache_key in sorted(cache_keys)]

    def after_partial_failure(
        self,
        operation: Operation,
        subsystem: str,
        arguments: Mapping[str, Any],
        backend: StorageBackend,
        journal: Journal,
    ) -> Steps:
        """The steps after a partial failure: the affected object is read again from the storage system."""
        try:
            return self._reread(operation, subsystem, arguments, backend, journal)
        except StorageError:
            return self.invalidate(operation, subsystem, arguments)

    def _reread(
        self,
        operation: Operation,
        subsystem: str,
        arguments: Mapping[str, Any],
        backend: StorageBackend,
        journal: Journal,
    ) -> Steps:
        steps = []
        for resource_type in dict.fromkeys(effect.resource_type for effect in operation.effects):
            cache_key = resource_type.cache_key(subsystem, arguments)
            if resource_type is views.VOLUMES:
                record = _find(backend.get_volume, arguments["volume"], journal)
                steps.append(self._upsert_or_delete(resource_type, cache_key, record, arguments["volume"]))
            elif resource_type is views.POLICIES:
                policy = _find(backend.get_policy, arguments["policy"], journal)
                record = None if policy is None else policy.summary
                steps.append(self._upsert_or_delete(resource_type, cache_key, record, arguments["policy"]))
            else:
                steps.append(self._listings.step("invalidate", cache_key))
        return steps

    def _upsert_or_delete(self, resource_type: ResourceType, cache_key: str, record: Any, key: str) -> dict[str, Any]:
        return (
            self._listings.step("delete", cache_key, key)
            if record is None
            else self._upsert(resource_type, cache_key, record)
        )

    def _upsert(self, resource_type: ResourceType, cache_key: str, value: Any) -> dict[str, Any]:
        record = orjson.dumps(value)
        return self._listings.step("upsert", cache_key, str(getattr(value, resource_type.key_field)), record.decode())


def _find(get: Any, name: str, journal: Journal) -> Any:
    try:
        return get(name, journal=journal)
    except NotFound:
        return None
