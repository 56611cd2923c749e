"""Journals of changes."""

from __future__ import annotations

from typing import Any

from storage_backends.journal import InMemoryJournal


def journal() -> InMemoryJournal:
    return InMemoryJournal()


def clients(policy: dict[str, Any]) -> list[list[str]]:
    """The clients of a simulated policy's rules, in the order of their indexes."""
    ordered = sorted(policy["rules"], key=lambda rule: rule["index"])
    return [[client["match"] for client in rule["clients"]] for rule in ordered]
