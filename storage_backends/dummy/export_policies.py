"""Export policies and their rules, in order; within the caller's transaction."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable

from storage_backends.client_matches import canonical_match, canonical_matches
from storage_backends.dummy import volume_rows as records
from storage_backends.errors import AlreadyExists, FieldError, InvalidRequest, NoSuchPolicy, PolicyInUse
from storage_backends.models import DetailedExportPolicy, ExportPolicy, ExportRule

#: The policy that always exists.
DEFAULT = "default"


def find_detailed(db: sqlite3.Connection, policy: str) -> DetailedExportPolicy:
    """Return one policy with its rights: each client match is a rule of its own, and all have the same."""
    summary = find(db, policy)
    rights = ("sys",)
    details = (
        ExportRule(index, (match,), ro=rights, rw=rights, superuser=rights, protocols=("nfs",))
        for index, match in enumerate(summary.rules, start=1)
    )
    return DetailedExportPolicy(summary.name, summary.rules, tuple(details))


def list_all(db: sqlite3.Connection) -> list[ExportPolicy]:
    """Return every policy, by name."""
    rows = db.execute("SELECT name, rules FROM policies ORDER BY name")
    return [ExportPolicy(name, tuple(json.loads(rules))) for name, rules in rows]


def find(db: sqlite3.Connection, policy: str) -> ExportPolicy:
    """Return one policy."""
    row = db.execute("SELECT rules FROM policies WHERE name = ?", (policy,)).fetchone()
    if row is None:
        raise NoSuchPolicy(f"there is no export policy {policy}")
    return ExportPolicy(policy, tuple(json.loads(row[0])))


def exists(db: sqlite3.Connection, policy: str) -> bool:
    """Return whether there is a policy of that name."""
    return bool(db.execute("SELECT 1 FROM policies WHERE name = ?", (policy,)).fetchone())


def create(db: sqlite3.Connection, policy: str, rules: Iterable[str]) -> ExportPolicy:
    """Make a policy; duplicate rules are dropped, order is kept."""
    if exists(db, policy):
        raise AlreadyExists(f"there is already an export policy {policy}")
    made = ExportPolicy(policy, tuple(canonical_matches(rules)))
    _require_rules(made.rules)
    insert_many(db, [made])
    return made


def insert_many(db: sqlite3.Connection, policies: Iterable[ExportPolicy]) -> None:
    """Write new policies."""
    rows = ((policy.name, json.dumps(policy.rules)) for policy in policies)
    db.executemany("INSERT INTO policies (name, rules) VALUES (?, ?)", rows)


def delete(db: sqlite3.Connection, policy: str) -> None:
    """Delete a policy that no volume in service uses."""
    find(db, policy)
    if policy == DEFAULT or records.uses_policy(db, policy):
        raise PolicyInUse(f"export policy {policy} is in use")
    db.execute("DELETE FROM policies WHERE name = ?", (policy,))


def add_rule(db: sqlite3.Connection, policy: str, rule: str) -> ExportPolicy:
    """Append a rule unless it is there, in any spelling."""
    _require_rules([rule])
    present, match = find(db, policy), canonical_match(rule)
    return present if match in present.rules else _write(db, ExportPolicy(policy, (*present.rules, match)))


def remove_rule(db: sqlite3.Connection, policy: str, rule: str) -> ExportPolicy:
    """Remove a rule if it is there, in any spelling."""
    match = canonical_match(rule)
    return _write(db, ExportPolicy(policy, tuple(other for other in find(db, policy).rules if other != match)))


def _write(db: sqlite3.Connection, policy: ExportPolicy) -> ExportPolicy:
    db.execute("UPDATE policies SET rules = ? WHERE name = ?", (json.dumps(policy.rules), policy.name))
    return policy


def _require_rules(rules: Iterable[str]) -> None:
    if not all(rules):
        detail = "a rule is not empty"
        raise InvalidRequest(detail, errors=(FieldError("/rules", detail),))
