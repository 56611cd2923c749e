"""Promises about every operation, also those that nobody has declared yet: a step that is left out is named."""

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
from tests.worker.bench import CALLS
from worker.catalog.operations import OPERATIONS, Operation, Role
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


def test_who_may_do_what() -> None:
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
def test_it_names_arguments_that_it_has(operation: Operation) -> None:
    named = {*operation.exclusive_on}
    named |= {name for effect in operation.effects for name in (effect.key, effect.when) if name}
    if operation.reads is not None:
        named |= {name for _, name, _, _ in Formatter().parse(operation.reads.template) if name} - {"subsystem"}
    assert named <= _arguments(operation).keys()


@pytest.mark.parametrize("name", sorted(_CHANGES))
def test_a_change_waits_for_its_turn_and_shows(name: str) -> None:
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
