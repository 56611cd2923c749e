"""Everything the service can do to a storage system, one declaration each.

A declaration is policy: which role it needs, in which queue it waits, what it changes in the cached listings, and
of what it needs exclusive use. Its name, arguments and their meaning are those of the back-end's method.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any

from storage_backends.base import StorageBackend
from storage_backends.journal import Journal
from worker.catalog import resource_types as views
from worker.catalog.resource_types import ResourceType


class Role(StrEnum):
    """What a user may do. Roles are distinct: none contains another."""

    USER = "USER"
    ADMIN = "ADMIN"
    UBER_ADMIN = "UBER_ADMIN"


class QueueClass(StrEnum):
    """Queues of one subsystem that do not delay each other."""

    WRITE = "write"
    READ = "read"
    LIST = "list"


@dataclass(frozen=True, slots=True)
class Effect:
    """What a succeeded change does to one kind of listing."""

    resource_type: ResourceType
    #: upsert: the record that the operation returned; delete: the record named by ``key``; invalidate: the storage
    #: system must be asked before the listing is shown again, also for the single objects in it.
    what: str
    #: The argument that names the deleted record.
    key: str = ""
    #: The effect applies only when this argument is true.
    when: str = ""


def upserts(resource_type: ResourceType) -> Effect:
    """Return the effect that adds or replaces the record that the operation returned."""
    return Effect(resource_type, "upsert")


def deletes(resource_type: ResourceType, key: str) -> Effect:
    """Return the effect that deletes the record named by the argument ``key``."""
    return Effect(resource_type, "delete", key)


def invalidates(resource_type: ResourceType, when: str = "") -> Effect:
    """Return the effect that makes the listing unusable until it is read again from the storage system."""
    return Effect(resource_type, "invalidate", when=when)


def task_name(operation: str) -> str:
    """Return the name of the Celery task for an operation."""
    return f"storage.{operation}"


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One operation on a storage system."""

    method: Callable[..., Any]
    role: Role
    queue_class: QueueClass
    #: For a read: the resource type under which its result is cached.
    reads: ResourceType | None = None
    #: For a change: its effects on the cached listings.
    effects: tuple[Effect, ...] = ()
    #: For a change: arguments that name the volumes or policies of which it needs exclusive use.
    exclusive_on: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.method.__name__

    @property
    def task_name(self) -> str:
        return task_name(self.name)

    @property
    def is_change(self) -> bool:
        return self.reads is None

    @property
    def makes_volume(self) -> bool:
        """Is there a new volume afterwards, and something mounted where nothing was?"""
        return "junction_path" in _signature(self.method).parameters

    def queue(self, subsystem: str) -> str:
        """The queue of ``subsystem`` that this operation waits in."""
        return f"{subsystem}.{self.queue_class}"

    def check(self, arguments: Mapping[str, Any]) -> None:
        """Raise TypeError unless ``arguments`` are what the method takes."""
        _signature(self.method).bind(None, journal=None, **arguments)

    def run(self, backend: StorageBackend, arguments: Mapping[str, Any], journal: Journal) -> Any:
        """Carry the operation out."""
        return getattr(backend, self.name)(**arguments, journal=journal)


@cache
def _signature(method: Callable[..., Any]) -> inspect.Signature:
    """Computed once, since it is needed for each request."""
    return inspect.signature(method)


#: All operations of storage systems, by name.
OPERATIONS: dict[str, Operation] = {}


def batch() -> None:
    """Many changes in one request: not an operation of a storage system, but recorded as a job as well."""


#: No worker executes it: it ends with its last member. The roles that it needs are those of its members' operations.
BATCH = Operation(method=batch, role=Role.ADMIN, queue_class=QueueClass.WRITE)


def operation_named(name: str) -> Operation | None:
    """Return the operation that a job's record names; None when this version does not know it."""
    return BATCH if name == BATCH.name else OPERATIONS.get(name)


def _read(method: Callable[..., Any], *, role: Role, queue_class: QueueClass, into: ResourceType) -> Operation:
    return _declare(Operation(method=method, role=role, queue_class=queue_class, reads=into))


def _change(
    method: Callable[..., Any],
    *,
    role: Role,
    exclusive_on: tuple[str, ...],
    effects: tuple[Effect, ...],
) -> Operation:
    return _declare(
        Operation(
            method=method,
            role=role,
            queue_class=QueueClass.WRITE,
            exclusive_on=exclusive_on,
            effects=effects,
        )
    )


def _declare(operation: Operation) -> Operation:
    OPERATIONS[operation.name] = operation
    return operation


_VOLUME_PUT = (upserts(views.VOLUMES), upserts(views.VOLUME))

LIST_VOLUMES = _read(StorageBackend.list_volumes, role=Role.USER, queue_class=QueueClass.LIST, into=views.VOLUMES)
GET_VOLUME = _read(StorageBackend.get_volume, role=Role.USER, queue_class=QueueClass.READ, into=views.VOLUME)
CREATE_VOLUME = _change(StorageBackend.create_volume, role=Role.ADMIN, exclusive_on=("volume",), effects=_VOLUME_PUT)
CLONE_VOLUME = _change(
    StorageBackend.clone_volume, role=Role.ADMIN, exclusive_on=("volume", "from_volume"), effects=_VOLUME_PUT
)
ROLL_BACK_VOLUME = _change(
    StorageBackend.roll_back_volume,
    role=Role.ADMIN,
    exclusive_on=("volume",),
    effects=(*_VOLUME_PUT, invalidates(views.SNAPSHOTS), invalidates(views.LOCKS)),
)
UPDATE_VOLUME = _change(
    StorageBackend.update_volume, role=Role.UBER_ADMIN, exclusive_on=("volume",), effects=_VOLUME_PUT
)
RESTRICT_VOLUME = _change(
    StorageBackend.restrict_volume,
    role=Role.UBER_ADMIN,
    exclusive_on=("volume",),
    effects=(
        deletes(views.VOLUMES, "volume"),
        invalidates(views.RESTRICTED),
        invalidates(views.VOLUME),
        invalidates(views.SNAPSHOTS),
        invalidates(views.LOCKS),
    ),
)
LIST_RESTRICTED_VOLUMES = _read(
    StorageBackend.list_restricted_volumes,
    role=Role.UBER_ADMIN,
    queue_class=QueueClass.LIST,
    into=views.RESTRICTED,
)
REINSTATE_VOLUME = _change(
    StorageBackend.reinstate_volume,
    role=Role.UBER_ADMIN,
    exclusive_on=("volume",),
    effects=(
        *_VOLUME_PUT,
        deletes(views.RESTRICTED, "volume"),
        invalidates(views.SNAPSHOTS),
        invalidates(views.LOCKS),
    ),
)

LIST_SNAPSHOTS = _read(StorageBackend.list_snapshots, role=Role.USER, queue_class=QueueClass.LIST, into=views.SNAPSHOTS)
GET_SNAPSHOT = _read(StorageBackend.get_snapshot, role=Role.USER, queue_class=QueueClass.READ, into=views.SNAPSHOT)
CREATE_SNAPSHOT = _change(
    StorageBackend.create_snapshot,
    role=Role.ADMIN,
    exclusive_on=("volume",),
    effects=(
        upserts(views.SNAPSHOTS),
        upserts(views.SNAPSHOT),
        invalidates(views.SNAPSHOTS, when="purge_old_if_needed"),
    ),
)
DELETE_SNAPSHOT = _change(
    StorageBackend.delete_snapshot,
    role=Role.ADMIN,
    exclusive_on=("volume",),
    effects=(deletes(views.SNAPSHOTS, "name"), invalidates(views.SNAPSHOT)),
)

LIST_LOCKS = _read(StorageBackend.list_locks, role=Role.USER, queue_class=QueueClass.LIST, into=views.LOCKS)
CREATE_LOCK = _change(
    StorageBackend.create_lock, role=Role.ADMIN, exclusive_on=("volume",), effects=(upserts(views.LOCKS),)
)
REMOVE_LOCK = _change(
    StorageBackend.remove_lock, role=Role.UBER_ADMIN, exclusive_on=("volume",), effects=(deletes(views.LOCKS, "host"),)
)

LIST_POLICIES = _read(StorageBackend.list_policies, role=Role.ADMIN, queue_class=QueueClass.LIST, into=views.POLICIES)
GET_POLICY = _read(StorageBackend.get_policy, role=Role.ADMIN, queue_class=QueueClass.READ, into=views.POLICY)
_POLICY_PUT = (upserts(views.POLICIES), invalidates(views.POLICY))
CREATE_POLICY = _change(StorageBackend.create_policy, role=Role.ADMIN, exclusive_on=("policy",), effects=_POLICY_PUT)
DELETE_POLICY = _change(
    StorageBackend.delete_policy,
    role=Role.ADMIN,
    exclusive_on=("policy",),
    effects=(deletes(views.POLICIES, "policy"), invalidates(views.POLICY)),
)
ENSURE_POLICY_RULE_PRESENT = _change(
    StorageBackend.ensure_policy_rule_present, role=Role.ADMIN, exclusive_on=("policy",), effects=_POLICY_PUT
)
ENSURE_POLICY_RULE_ABSENT = _change(
    StorageBackend.ensure_policy_rule_absent, role=Role.ADMIN, exclusive_on=("policy",), effects=_POLICY_PUT
)
