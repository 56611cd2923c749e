"""Export policies and their rules."""

from __future__ import annotations

from collections.abc import Iterable

from storage_api_client.models import ExportPolicy
from storage_api_client.operations.paths import Where, path, selection
from storage_api_client.protocol.changes import Change, nothing
from storage_api_client.protocol.reads import Read, parser_of


def list_policies(
    subsystem: str, where: Where = None, sort: str | None = None, fields: Iterable[str] | str | None = None
) -> Read[ExportPolicy]:
    """Export policies."""
    return Read(path(subsystem, "export"), ExportPolicy.of, selection(where, sort, fields))


def get_policy(subsystem: str, policy: str) -> Read[ExportPolicy]:
    """One export policy."""
    return Read(path(subsystem, "export", policy), parser_of(ExportPolicy.of))


def create_policy(subsystem: str, policy: str, rules: Iterable[str] = ()) -> Change[ExportPolicy]:
    """A new export policy with these rules.

    Raises:
        TypeError: ``rules`` is a string, which would become a rule for each of its characters.
    """
    if isinstance(rules, str):
        raise TypeError(f"rules must be a list, as in [{rules!r}], not a string")
    return Change("POST", path(subsystem, "export", policy), parser_of(ExportPolicy.of), {"rules": list(rules)})


def delete_policy(subsystem: str, policy: str) -> Change[None]:
    """An export policy gone."""
    return Change("DELETE", path(subsystem, "export", policy), nothing)


def ensure_policy_rule_present(subsystem: str, policy: str, rule: str) -> Change[ExportPolicy]:
    """A policy that lets a client in."""
    return Change("PUT", path(subsystem, "export", policy, "rule", rule), parser_of(ExportPolicy.of))


def ensure_policy_rule_absent(subsystem: str, policy: str, rule: str) -> Change[None]:
    """A policy that lets a client in no more."""
    return Change("DELETE", path(subsystem, "export", policy, "rule", rule), nothing)
