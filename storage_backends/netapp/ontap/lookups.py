"""Finding things on the filer: whole collections page by page, and single objects by exactly their name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from storage_backends.errors import InvalidRequest, NoSuchVolume, NotFound, StorageError
from storage_backends.journal import Journal
from storage_backends.models import parse_reference
from storage_backends.netapp.ontap import mapping as records
from storage_backends.netapp.ontap.client import Filer
from storage_backends.netapp.ontap.error_codes import is_forbidden
from storage_backends.netapp.ontap.queries import Query, literal, next_page
from storage_backends.netapp.ontap.responses import Json, Shape

#: Records per page; more made real filers run into their own time limits.
PAGE = 500


def ask(
    filer: Filer, path: str, query: Query, fields: Sequence[str], *, journal: Journal, shape: Shape | None = None
) -> Json:
    """Ask for ``fields``; on a release that does not know the newest of them, for the others."""

    def without(names: frozenset[str]) -> Json:
        asked = ",".join(name for name in fields if name not in names)
        return filer.get(path, {**query, "fields": asked}, journal=journal, shape=shape)

    try:
        return without(filer.without)
    except InvalidRequest:
        if not records.NEWER_FIELDS.intersection(fields) - filer.without:
            raise
        answer = without(filer.without | records.NEWER_FIELDS)
        filer.without |= records.NEWER_FIELDS  # Only now it is known that they were to blame.
        return answer


def pages(
    filer: Filer, path: str, query: Query, fields: Sequence[str], *, journal: Journal, shape: Shape | None = None
) -> Iterator[list[Any]]:
    """The records of a collection, page by page, as ``shape`` made them; one may be empty though another follows.

    Raises:
        StorageError: no answer, a refusal, an answer that is no listing, or a listing that does not come to an end.
    """
    answer = ask(filer, path, {**query, "max_records": PAGE}, fields, journal=journal, shape=shape)
    seen: set[str] = set()
    while True:
        if "records" not in answer and answer.get("num_records") != 0:
            raise StorageError("The storage system answered with something that is no listing.")
        yield answer.get("records") or []
        href = ((answer.get("_links") or {}).get("next") or {}).get("href")
        if not href:
            return
        url = next_page(href, path)
        if url is None or url in seen:
            raise StorageError("The storage system's listing does not come to an end.")
        seen.add(url)
        answer = filer.get_url(url, journal=journal, shape=shape)


def all_records(filer: Filer, path: str, query: Query, fields: Sequence[str], *, journal: Journal) -> list[Json]:
    """All records of a small collection."""
    return [record for page in pages(filer, path, query, fields, journal=journal) for record in page]


def in_vserver(filer: Filer, **query: str | int) -> dict[str, str | int]:
    """A query of the configured vserver's objects alone."""
    return {"svm.name": literal(filer.vserver), **query}


def volumes_where(
    filer: Filer, key: str, value: str, *, journal: Journal, fields: Sequence[str] = records.VOLUME_FIELDS
) -> list[Json]:
    """The vserver's volumes, restricted ones too, of exactly that ``name``, or ``nas.path`` in any case."""
    found = all_records(filer, "/storage/volumes", in_vserver(filer, **{key: literal(value)}), fields, journal=journal)
    if key == "name":
        return [record for record in found if record.get("name") == value]
    return [record for record in found if _path(record).lower() == value.lower()]


def _path(record: Json) -> str:
    return (record.get("nas") or {}).get("path") or ""


def find_volume(filer: Filer, volume: str, *, journal: Journal) -> Json:
    """The record of one volume in service, by name or ``node:/junction/path``.

    Raises:
        NoSuchVolume: there is none.
    """
    reference = parse_reference(volume)
    key, value = ("name", volume) if reference is None else ("nas.path", reference.junction_path)
    for record in volumes_where(filer, key, value, journal=journal):
        if records.is_volume(record):
            return record
    raise NoSuchVolume("There is no such volume.")


def volume_by_uuid(filer: Filer, uuid: str, *, journal: Journal, fields: Sequence[str] = records.VOLUME_FIELDS) -> Json:
    """The record of one volume in any state.

    Raises:
        NoSuchVolume: there is none.
    """
    try:
        return ask(filer, f"/storage/volumes/{uuid}", {}, fields, journal=journal)
    except NotFound:
        raise NoSuchVolume("There is no such volume (any more).") from None


def nodes_of_aggregates(filer: Filer, *, journal: Journal) -> dict[str, str]:
    """The node of each aggregate, for releases before 9.17.1, which do not tell a volume's."""
    if filer.confined:
        return {}
    try:
        found = all_records(filer, "/storage/aggregates", {}, ("name", "node.name"), journal=journal)
    except StorageError as refusal:
        # An account that is confined to a vserver sees no aggregates, now and later: the node stays unknown.
        filer.confined = is_forbidden(refusal)
        return {}
    return {entry["name"]: _node(entry) for entry in found if _node(entry)}


def _node(aggregate: Json) -> Any:
    return (aggregate.get("node") or {}).get("name", "")
