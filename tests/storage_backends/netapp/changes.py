"""One change of each kind, on a filer that holds what each needs; and what the filer's log says became of it."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from storage_backends.base import Outcome, StorageBackend
from storage_backends.errors import StorageError
from storage_backends.journal import InMemoryJournal
from tests.ontap_simulator import Simulator
from tests.storage_backends.conformance import MIB

CHANGES: dict[str, tuple[str, dict[str, Any]]] = {
    "create": ("create_volume", {"volume": "new", "junction_path": "/new", "size_total": 100 * MIB}),
    "create in three steps": (
        "create_volume",
        {
            "volume": "new",
            "junction_path": "/new",
            "size_total": 100 * MIB,
            "compression_enabled": True,
            "caching_policy": "random_read",
        },
    ),
    "clone": (
        "clone_volume",
        {"volume": "copy", "from_volume": "home", "from_snapshot": "one", "junction_path": "/copy"},
    ),
    "roll back": ("roll_back_volume", {"volume": "home", "from_snapshot": "one"}),
    "update": ("update_volume", {"volume": "home", "size_total": 200 * MIB, "active_policy_name": "team"}),
    "update in two steps": ("update_volume", {"volume": "home", "size_total": 200 * MIB, "caching_policy": "all"}),
    "caching": ("update_volume", {"volume": "home", "caching_policy": "all"}),
    "restrict": ("restrict_volume", {"volume": ":/users/home"}),
    "reinstate": ("reinstate_volume", {"volume": "out", "junction_path": "/back"}),
    "clone with its own": (
        "clone_volume",
        {"volume": "copy", "from_volume": "home", "from_snapshot": "one", "active_policy_name": "team"},
    ),
    "make snapshot": ("create_snapshot", {"volume": "home", "name": "three"}),
    "purge": ("create_snapshot", {"volume": "full", "name": "three", "purge_old_if_needed": True}),
    "delete snapshot": ("delete_snapshot", {"volume": "home", "name": "one"}),
    "break locks": ("remove_lock", {"volume": "home", "host": "192.0.2.1"}),
    "make policy": ("create_policy", {"policy": "new", "rules": ["a", "b"]}),
    "delete policy": ("delete_policy", {"policy": "team"}),
    "add rule": ("ensure_policy_rule_present", {"policy": "team", "rule": "b"}),
    "remove rule": ("ensure_policy_rule_absent", {"policy": "team", "rule": "a"}),
    "shorten rule": ("ensure_policy_rule_absent", {"policy": "shared", "rule": "b"}),
}

#: How many requests each takes, where it is more than one.
STEPS = {
    "create in three steps": 3,
    "update in two steps": 2,
    "restrict": 2,
    "reinstate": 2,
    "clone with its own": 2,
    "break locks": 2,
}

#: Those that the filer carries out without a job.
WITHOUT_JOB = frozenset(
    {"caching", "break locks", "make policy", "delete policy", "add rule", "remove rule", "shorten rule"}
)


def furnish(ontap: Simulator) -> None:
    """Create the objects that the changes need."""
    world = ontap.world
    world.snapshot_limit = 3
    for name in ("home", "full"):
        volume = world.add_volume(name, nas={"path": f"/users/{name}"})
        for snapshot in ("one", "two"):
            world.add_snapshot(volume, snapshot)
        if name == "full":
            world.add_snapshot(volume, "nearly")
        world.add_lock(volume, "192.0.2.1")
        world.add_lock(volume, "192.0.2.1")
        world.add_lock(volume, "192.0.2.2")
    world.add_volume("out", state="restricted")
    world.add_policy(world.vserver, "team", [["a"]])
    world.add_policy(world.vserver, "shared", [["a", "b", "c"], ["d"]])


def repeated(ontap: Simulator) -> list[str]:
    """The changes that took effect more than once."""
    seen = Counter(f"{effect.method} {effect.path} {json.dumps(effect.what)}" for effect in ontap.world.effects)
    return [one for one, count in seen.items() if count > 1]


def sent_twice(ontap: Simulator) -> list[str]:
    """The changes that were sent more than once."""
    seen = Counter(f"{one.method} {one.path} {one.query} {json.dumps(one.body)}" for one in ontap.changes_sent())
    return [one for one, count in seen.items() if count > 1]


def attempt(backend: StorageBackend, name: str) -> tuple[Any, StorageError | None, InMemoryJournal]:
    """Make one of the changes: what it returned, or how it failed, and what its journal holds."""
    operation, arguments = CHANGES[name]
    journal = InMemoryJournal("0199-job")
    try:
        return getattr(backend, operation)(**arguments, journal=journal), None, journal
    except StorageError as error:
        return None, error, journal


def settled(backend: StorageBackend, name: str, journal: InMemoryJournal) -> Outcome:
    """How another worker would reconcile it, an hour later."""
    operation, arguments = CHANGES[name]
    return backend.reconcile(operation, arguments, journal.state(age_s=3600.0), journal=journal).outcome
