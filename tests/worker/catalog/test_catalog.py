"""Rules for every operation, also for those added later: a missing step is reported."""

from __future__ import annotations

import inspect
from importlib import import_module
from string import Formatter
from typing import Any

import pytest

from storage_backends.base import StorageBackend
from storage_backends.registry import DRIVERS
from tests.storage_backends.conformance.settling import CHANGES
from tests.storage_backends.netapp.changes import CHANGES as NETAPP_CHANGES
from tests.worker.harness import CALLS
from worker.catalog.operations import OPERATIONS, Effect, Operation, Role
from worker.catalog.ordering_keys import ordering_keys
from worker.catalog.success_status import success_status

#: Methods of a driver that are no operations.
_OTHER_METHODS = {"reconcile", "check"}
#: Changes of locks, which not every driver can make.
_LOCK_CHANGES = {"create_lock", "remove_lock"}
_CHANGES = {name for name, operation in OPERATIONS.items() if operation.is_change}

every_operation = pytest.mark.parametrize("operation", OPERATIONS.values(), ids=list(OPERATIONS))


def _arguments(operation: Operation) -> dict[str, Any]:
    return dict(inspect.signature(operation.method).parameters)


def test_the_role_of_each_operation() -> None:
    """Every other test takes the roles from the operations themselves."""
    by_role = {role: {name for name, operation in OPERATIONS.items() if operation.role == role} for role in Role}
    assert by_role == {
        Role.USER: {"list_volumes", "get_volume", "list_snapshots", "get_snapshot", "list_locks"},
        Role.ADMIN: {
            "create_volume", "clone_volume", "roll_back_volume", "create_snapshot", "delete_snapshot", "create_lock",
            "list_policies", "get_policy", "create_policy", "delete_policy",
            "ensure_policy_rule_present", "ensure_policy_rule_absent",
        },
        Role.UBER_ADMIN: {
            "update_volume", "restrict_volume", "remove_lock", "list_restricted_volumes", "reinstate_volume",
        },
    }  # fmt: skip


#: Of each operation: its queue, its arguments, and for a read what it is cached as, for a change of what it needs
#: exclusive use and what it does to the cached listings (the argument that names a deleted record in parentheses).
_VOLUMES, _VOLUME = "{subsystem}/volumes", "{subsystem}/volumes/{volume}"
_SNAPSHOTS, _SNAPSHOT, _LOCKS = f"{_VOLUME}/snapshots", f"{_VOLUME}/snapshots/{{name}}", f"{_VOLUME}/locks"
_RESTRICTED, _POLICIES, _POLICY = "{subsystem}/restricted", "{subsystem}/export", "{subsystem}/export/{policy}"
_PUT_VOLUME = {f"upsert {_VOLUMES}", f"upsert {_VOLUME}"}
_PUT_POLICY = {f"upsert {_POLICIES}", f"invalidate {_POLICY}"}
_READ_AGAIN = {f"invalidate {_SNAPSHOTS}", f"invalidate {_LOCKS}"}
_READS = {
    "list_volumes": ("list", "", _VOLUMES),
    "get_volume": ("read", "volume", _VOLUME),
    "list_restricted_volumes": ("list", "", _RESTRICTED),
    "list_snapshots": ("list", "volume", _SNAPSHOTS),
    "get_snapshot": ("read", "volume name", _SNAPSHOT),
    "list_locks": ("list", "volume", _LOCKS),
    "list_policies": ("list", "", _POLICIES),
    "get_policy": ("read", "policy", _POLICY),
}
_EFFECTS: dict[str, tuple[str, str, set[str]]] = {
    "create_volume": ("volume aggregate_name junction_path settings", "volume", _PUT_VOLUME),
    "clone_volume": (
        "volume from_volume from_snapshot junction_path settings", "volume from_volume", _PUT_VOLUME
    ),
    "roll_back_volume": ("volume from_snapshot", "volume", _PUT_VOLUME | _READ_AGAIN),
    "update_volume": ("volume settings", "volume", _PUT_VOLUME),
    "restrict_volume": (
        "volume", "volume",
        {f"delete {_VOLUMES} (volume)", f"invalidate {_VOLUME}", f"invalidate {_RESTRICTED}"} | _READ_AGAIN,
    ),
    "reinstate_volume": (
        "volume junction_path", "volume", _PUT_VOLUME | {f"delete {_RESTRICTED} (volume)"} | _READ_AGAIN
    ),
    "create_snapshot": (
        "volume name purge_old_if_needed", "volume",
        {f"upsert {_SNAPSHOTS}", f"upsert {_SNAPSHOT}", f"invalidate {_SNAPSHOTS} when purge_old_if_needed"},
    ),
    "delete_snapshot": ("volume name", "volume", {f"delete {_SNAPSHOTS} (name)", f"invalidate {_SNAPSHOT}"}),
    "create_lock": ("volume host", "volume", {f"upsert {_LOCKS}"}),
    "remove_lock": ("volume host", "volume", {f"delete {_LOCKS} (host)"}),
    "create_policy": ("policy rules", "policy", _PUT_POLICY),
    "delete_policy": ("policy", "policy", {f"delete {_POLICIES} (policy)", f"invalidate {_POLICY}"}),
    "ensure_policy_rule_present": ("policy rule", "policy", _PUT_POLICY),
    "ensure_policy_rule_absent": ("policy rule", "policy", _PUT_POLICY),
}  # fmt: skip


def _parameters(operation: Operation) -> str:
    return " ".join(name for name in _arguments(operation) if name not in {"self", "journal"})


def _text(effect: Effect) -> str:
    key = f" ({effect.key})" if effect.key else ""
    return f"{effect.what} {effect.resource_type.template}{key}{f' when {effect.when}' if effect.when else ''}"


def test_the_kind_of_each_read() -> None:
    reads = {name: operation for name, operation in OPERATIONS.items() if operation.reads is not None}
    assert {
        name: (operation.queue_class, _parameters(operation), operation.reads and operation.reads.template)
        for name, operation in reads.items()
    } == _READS
    assert {operation.queue("filer") for operation in reads.values()} == {"filer.read", "filer.list"}
    assert not any(operation.effects or operation.exclusive_on or operation.is_change for operation in reads.values())


@pytest.mark.parametrize("name", sorted(_CHANGES))
def test_the_effects_of_each_change(name: str) -> None:
    operation = OPERATIONS[name]
    parameters, exclusive_on, effects = _EFFECTS[name]
    assert (_parameters(operation), operation.exclusive_on) == (parameters, tuple(exclusive_on.split()))
    assert sorted(map(_text, operation.effects)) == sorted(effects)
    assert (operation.name, operation.task_name, operation.queue("filer")) == (name, f"storage.{name}", "filer.write")
    assert operation.makes_volume == (name in {"create_volume", "clone_volume", "reinstate_volume"})


def test_the_cache_key_of_each_read() -> None:
    """By template: the field that identifies a record, is it in order, the collection it may be served from."""
    kinds = [operation.reads for operation in OPERATIONS.values() if operation.reads is not None]
    assert {
        kind.template: (kind.key_field, kind.ordered, kind.parent and kind.parent.template, kind.argument)
        for kind in kinds
    } == {
        _VOLUMES: ("name", True, None, ""),
        _VOLUME: ("name", False, _VOLUMES, "volume"),
        _RESTRICTED: ("name", True, None, ""),
        _SNAPSHOTS: ("name", False, None, ""),
        _SNAPSHOT: ("name", False, _SNAPSHOTS, "name"),
        _LOCKS: ("host", False, None, ""),
        _POLICIES: ("name", True, None, ""),
        _POLICY: ("name", False, _POLICIES, "policy"),
    }
    assert [kind.template for kind in kinds if kind.is_detailed] == [_POLICY]
    assert {kind.template for kind in kinds if not kind.is_one_of_many} == {_VOLUMES, _RESTRICTED, _POLICIES}


def test_every_method_of_the_contract_is_declared() -> None:
    assert StorageBackend.__abstractmethods__ - _OTHER_METHODS == OPERATIONS.keys()


@pytest.mark.parametrize("driver", DRIVERS)
def test_every_driver_has_every_method(driver: str) -> None:
    module, _, name = DRIVERS[driver].partition(":")
    missing = getattr(import_module(module), name).__abstractmethods__
    assert sorted(missing) == []


def test_the_outcome_of_every_change_is_reconciled() -> None:
    """In the conformance suite, which all drivers pass; those of locks, for NetApp, in its own tests."""
    assert {name for name, _ in CHANGES} == _CHANGES - _LOCK_CHANGES
    assert {name for name, _ in NETAPP_CHANGES.values()} == _CHANGES - {"create_lock"}


def test_a_crash_of_every_operation_is_tried() -> None:
    assert CALLS.keys() == OPERATIONS.keys()


@every_operation
def test_its_method_is_documented(operation: Operation) -> None:
    assert (operation.method.__doc__ or "").strip()


@every_operation
def test_declared_arguments_exist(operation: Operation) -> None:
    named = {*operation.exclusive_on}
    named |= {name for effect in operation.effects for name in (effect.key, effect.when) if name}
    if operation.reads is not None:
        named |= {name for _, name, _, _ in Formatter().parse(operation.reads.template) if name} - {"subsystem"}
    assert named <= _arguments(operation).keys()


@pytest.mark.parametrize("name", sorted(_CHANGES))
def test_a_change_has_an_ordering_key_and_effects(name: str) -> None:
    operation = OPERATIONS[name]
    assert set(operation.exclusive_on) >= {"volume", "policy"} & _arguments(operation).keys()
    assert operation.effects
    assert ordering_keys(operation, "filer", CALLS[name])["keys"] != "[]"


@pytest.mark.parametrize("name", sorted(_CHANGES))
def test_a_change_that_returns_nothing_is_answered_without_a_body(name: str) -> None:
    operation = OPERATIONS[name]
    is_none = inspect.signature(operation.method).return_annotation in {None, "None"}
    upserts = {effect.resource_type.name for effect in operation.effects if effect.what == "upsert"}
    assert not (is_none and (upserts or success_status(operation) != 204))
