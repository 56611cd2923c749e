"""ONTAP's export rules: read as ours, told whom they let in, and recognised again after others have moved them.

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
from storage_backends.netapp.ontap.odd_records import report_odd_record
from storage_backends.netapp.ontap.responses import Json

#: The rights that a rule of ours gives.
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
    """A rule for one client, as it is sent."""
    return {"clients": [{"match": match}], **OUR_RIGHTS}


@dataclass(frozen=True, slots=True)
class OntapRule:
    """One rule as the filer keeps it: ``clients`` in the spelling that it was given."""

    index: int
    clients: tuple[str, ...]
    details: ExportRule

    def spellings_of(self, match: str) -> tuple[str, ...]:
        """The clients of the rule that mean ``match``."""
        return tuple(client for client in self.clients if canonical_match(client) == match)

    def matches(self, match: str) -> bool:
        """Does it certainly apply to all that ``match`` means, when they come by NFS?"""
        return self._is_for_nfs and any(covers(client, match) for client in self.details.clients)

    @property
    def gives_our_access(self) -> bool:
        """Does it give what our rules give? What the filer does not tell counts as given."""
        rights = (self.details.ro, self.details.rw, self.details.superuser)
        protocols = self.details.protocols
        return all(not right or _SUFFICIENT & set(right) for right in rights) and (
            not protocols or bool({"nfs", "any"} & set(protocols))
        )

    @property
    def _is_for_nfs(self) -> bool:
        protocols = self.details.protocols
        return not protocols or any(name == "any" or name.startswith("nfs") for name in protocols)

    def __str__(self) -> str:
        details = self.details
        rights = f"ro {','.join(details.ro)}, rw {','.join(details.rw)}, superuser {','.join(details.superuser)}"
        return f"rule {self.index} ({', '.join(details.clients)}: {rights})"


def rules_of(records: Any, policy: str) -> list[OntapRule]:
    """The rules in the order in which they apply; what is odd in them is logged and left out."""
    rules = [_rule(record, policy) for record in objects(records)]
    return sorted(rules, key=lambda rule: rule.index)


def policy_of(name: str, rules: Iterable[OntapRule]) -> DetailedExportPolicy:
    """A policy: each client of each rule, in canonical form, is a rule of ours; each once, in their order."""
    details = tuple(rule.details for rule in rules)
    return DetailedExportPolicy(
        name, tuple(dict.fromkeys(client for rule in details for client in rule.clients)), details
    )


def deciding_rule(rules: Iterable[OntapRule], match: str) -> OntapRule | None:
    """The rule that decides on all that ``match`` means, as far as that can be known without asking name servers."""
    return next((rule for rule in rules if rule.matches(match)), None)


def _rule(record: Record, policy: str) -> OntapRule:
    fields = Fields(record)
    index = fields.number("index")
    clients = tuple(text for entry in objects(record.get("clients")) if (text := Fields(entry).text("match")))
    if index is None or fields.odd or not isinstance(record.get("clients"), list):
        report_odd_record("export rule of policy", policy, "a rule without index or clients")
    details = ExportRule(
        index or 0,
        tuple(dict.fromkeys(map(canonical_match, clients))),
        _texts(record.get("ro_rule")),
        _texts(record.get("rw_rule")),
        _texts(record.get("superuser")),
        _texts(record.get("protocols")),
    )
    return OntapRule(index or 0, clients, details)


def _texts(entries: Any) -> tuple[str, ...]:
    return tuple(entry for entry in entries if isinstance(entry, str)) if isinstance(entries, list) else ()
