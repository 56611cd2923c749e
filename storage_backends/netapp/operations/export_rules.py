"""ONTAP's export rules: conversion to ours, evaluation for clients, and recognition after their indexes have changed.

ONTAP applies the first rule, by index, that matches a client. A rule may be for several clients, and has no identity
but its index, which changes when another rule is put before it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from storage_backends.client_matches import canonical_match, covers
from storage_backends.models import DetailedExportPolicy, ExportRule
from storage_backends.netapp.ontap.fields import Fields, Record, objects
from storage_backends.netapp.ontap.malformed_records import report_malformed_record
from storage_backends.netapp.ontap.responses import Json

#: The rights of our rules.
OUR_RIGHTS: Json = {
    "protocols": ["nfs"],
    "ro_rule": ["sys"],
    "rw_rule": ["sys"],
    "superuser": ["sys"],
    "anonymous_user": "0",
}
RULE_FIELDS: tuple[str, ...] = ("index", "clients.match", "ro_rule", "rw_rule", "superuser", "protocols")
POLICY_FIELDS: tuple[str, ...] = ("id", "name", "are_rules_truncated", *(f"rules.{name}" for name in RULE_FIELDS))
_SUFFICIENT = frozenset({"sys", "any"})


def our_rule(match: str) -> Json:
    """Return the body for a rule of one client."""
    return {"clients": [{"match": match}], **OUR_RIGHTS}


@dataclass(frozen=True, slots=True)
class OntapRule:
    """One rule of the filer: ``clients`` in the original spelling."""

    index: int
    clients: tuple[str, ...]
    details: ExportRule

    def spellings_of(self, match: str) -> tuple[str, ...]:
        """Return the clients of the rule that are equal to ``match`` in canonical form."""
        return tuple(client for client in self.clients if canonical_match(client) == match)

    def matches(self, match: str) -> bool:
        """Does it certainly apply to all NFS clients of ``match``?"""
        return self.is_for_nfs and any(covers(client, match) for client in self.details.clients)

    @property
    def grants_required_access(self) -> bool:
        """Does it give what our rules give? Rights that the filer does not show count as given."""
        rights = (self.details.ro, self.details.rw, self.details.superuser)
        protocols = self.details.protocols
        return all(not right or _SUFFICIENT & set(right) for right in rights) and (
            not protocols or bool({"nfs", "any"} & set(protocols))
        )

    @property
    def is_for_nfs(self) -> bool:
        """Is it for clients of NFS?"""
        protocols = self.details.protocols
        return not protocols or any(name == "any" or name.startswith("nfs") for name in protocols)

    def __str__(self) -> str:
        details = self.details
        rights = f"ro {','.join(details.ro)}, rw {','.join(details.rw)}, superuser {','.join(details.superuser)}"
        rights += f", protocols {','.join(details.protocols)}"
        return f"rule {self.index} ({', '.join(details.clients)}: {rights})"


def rules_of(records: Any, policy: str) -> list[OntapRule]:
    """Return the rules in the order in which they apply; malformed parts are logged and omitted."""
    rules = [_rule(record, policy) for record in objects(records)]
    return sorted(rules, key=lambda rule: rule.index)


def policy_of(name: str, rules: Iterable[OntapRule]) -> DetailedExportPolicy:
    """Return the policy: each client of each rule, in canonical form, is a rule of ours; each once, in order."""
    details = tuple(rule.details for rule in rules)
    return DetailedExportPolicy(
        name, tuple(dict.fromkeys(client for rule in details for client in rule.clients)), details
    )


def deciding_rule(rules: Iterable[OntapRule], match: str) -> OntapRule | None:
    """Return the first rule that applies to all clients of ``match``, as far as known without DNS."""
    return next((rule for rule in rules if rule.matches(match)), None)


def nfs_rule(rules: Iterable[OntapRule], match: str) -> OntapRule | None:
    """Return the first rule for NFS that names the client, in whatever spelling."""
    return next((rule for rule in rules if rule.is_for_nfs and rule.spellings_of(match)), None)


def _rule(record: Record, policy: str) -> OntapRule:
    index = Fields(record).number("index")
    clients = tuple(text for entry in objects(record.get("clients")) if (text := Fields(entry).text("match")))
    if index is None or not isinstance(record.get("clients"), list):
        report_malformed_record("export rule of policy", policy, "a rule without index or clients")
    details = ExportRule(
        index or 0,
        tuple(dict.fromkeys(map(canonical_match, clients))),
        _texts(record.get("ro_rule")),
        _texts(record.get("rw_rule")),
        _texts(record.get("superuser")),
        _texts(record.get("protocols")),
    )
    return OntapRule(details.index, clients, details)


def _texts(entries: Any) -> tuple[str, ...]:
    return tuple(entry for entry in entries if isinstance(entry, str)) if isinstance(entries, list) else ()
