"""Reads with fields that a release may not know: those that it refuses are omitted from then on, and reported."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from storage_backends.journal import Journal
from storage_backends.netapp.ontap.client import OntapClient
from storage_backends.netapp.ontap.error_codes import FieldsRefused
from storage_backends.netapp.ontap.mapping import NEWER_FIELDS
from storage_backends.netapp.ontap.queries import Query
from storage_backends.netapp.ontap.responses import Json, Transform

log = logging.getLogger(__name__)

#: Fields without which a record is useless.
_NEEDED = frozenset({"uuid", "name", "id", "index"})


def ask(
    client: OntapClient,
    path: str,
    query: Query,
    fields: Sequence[str],
    *,
    journal: Journal,
    transform: Transform | None = None,
) -> Json:
    """Read with ``fields``, without those that this filer does not know.

    Raises:
        StorageError: no response, or a refusal that does not depend on optional fields.
    """
    while True:
        requested = [name for name in fields if name not in client.without]
        try:
            return client.get(path, {**query, "fields": ",".join(requested)}, journal=journal, transform=transform)
        except FieldsRefused as refusal:
            unknown = (
                refusal.refused_among(requested) or _refused_one_by_one(client, path, query, requested, journal)
            ) - _NEEDED
            if not unknown:
                raise
            _omit(client, unknown)


def _refused_one_by_one(
    client: OntapClient, path: str, query: Query, requested: Iterable[str], journal: Journal
) -> frozenset[str]:
    """Return the fields that the filer refuses, by single requests, if its refusal does not name them."""
    if not any(_takes(client, path, query, name, journal) for name in requested if name in _NEEDED):
        return frozenset()  # The query itself is refused.
    # The newest fields first: usually it is one of them.
    for candidates in (NEWER_FIELDS.intersection(requested), frozenset(requested) - NEWER_FIELDS - _NEEDED):
        unknown = frozenset(name for name in candidates if not _takes(client, path, query, name, journal))
        if unknown:
            return unknown
    return frozenset()


def _takes(client: OntapClient, path: str, query: Query, field: str, journal: Journal) -> bool:
    try:
        client.get(path, {**query, "fields": field}, journal=journal)
    except FieldsRefused:
        return False
    return True


def _omit(client: OntapClient, unknown: frozenset[str]) -> None:
    client.without |= unknown
    client.unknown_fields |= unknown
    log.warning("The storage system does not know %s: it reads as null from now on.", ", ".join(sorted(unknown)))
