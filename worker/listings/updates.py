"""What a change does to the cached listings: the steps that are taken together with the end of its job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from storage_backends.base import StorageBackend
from storage_backends.errors import NotFound, StorageError
from storage_backends.journal import Journal
from worker.catalog import resource_types as views
from worker.catalog.operations import Operation
from worker.catalog.resource_types import View
from worker.listings.repository import Listings

Steps = list[dict[str, Any]]


class Effects:
    """Turns declared effects into steps."""

    def __init__(self, listings: Listings) -> None:
        self._listings = listings

    def of_success(self, operation: Operation, subsystem: str, arguments: Mapping[str, Any], value: Any) -> Steps:
        """The steps of a change that returned ``value``."""
        steps = []
        for effect in operation.effects:
            if effect.when and not arguments.get(effect.when):
                continue
            thing = effect.view.thing(subsystem, arguments)
            if effect.what == "put":
                steps.append(self._put(effect.view, thing, value))
            elif effect.what == "drop":
                steps.append(self._listings.step("drop", thing, str(arguments[effect.key])))
            else:
                steps.append(self._listings.step("reread", thing))
        return steps

    def of_doubt(self, operation: Operation, subsystem: str, arguments: Mapping[str, Any]) -> Steps:
        """The steps where it is not known what a change did: everything it touches must be asked for again."""
        things = {effect.view.thing(subsystem, arguments) for effect in operation.effects}
        return [self._listings.step("reread", thing) for thing in sorted(things)]

    def of_truth(
        self,
        operation: Operation,
        subsystem: str,
        arguments: Mapping[str, Any],
        backend: StorageBackend,
        journal: Journal,
    ) -> Steps:
        """The steps after a change that failed half way: the storage system is asked for the one object it touched."""
        try:
            return self._look(operation, subsystem, arguments, backend, journal)
        except StorageError:
            return self.of_doubt(operation, subsystem, arguments)

    def _look(
        self,
        operation: Operation,
        subsystem: str,
        arguments: Mapping[str, Any],
        backend: StorageBackend,
        journal: Journal,
    ) -> Steps:
        steps = []
        for view in dict.fromkeys(effect.view for effect in operation.effects):
            thing = view.thing(subsystem, arguments)
            if view is views.VOLUMES:
                found = _find(backend.get_volume, arguments["volume"], journal)
                steps.append(self._put_or_drop(view, thing, found, arguments["volume"]))
            elif view is views.POLICIES:
                found = _find(backend.get_policy, arguments["policy"], journal)
                steps.append(self._put_or_drop(view, thing, found, arguments["policy"]))
            else:
                steps.append(self._listings.step("reread", thing))
        return steps

    def _put_or_drop(self, view: View, thing: str, found: Any, key: str) -> dict[str, Any]:
        return self._listings.step("drop", thing, key) if found is None else self._put(view, thing, found)

    def _put(self, view: View, thing: str, value: Any) -> dict[str, Any]:
        record = orjson.dumps(value)
        return self._listings.step("put", thing, str(getattr(value, view.key_field)), record.decode())


def _find(get: Any, name: str, journal: Journal) -> Any:
    try:
        return get(name, journal=journal)
    except NotFound:
        return None
