"""Look-ups on the filer: whole collections page by page, and single objects by their exact name.

An empty response alone proves nothing: a filer that has renamed or lost the configured SVM answers so, too. If
nothing was found, ``require_svm`` checks whether the SVM exists.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from storage_backends.errors import BackendUnavailable, NoSuchVolume, NotADataVolume, NotFound, StorageError
from storage_backends.journal import Journal
from storage_backends.models import junction_key, parse_reference
from storage_backends.netapp.ontap import mapping
from storage_backends.netapp.ontap.client import OntapClient
from storage_backends.netapp.ontap.error_codes import is_forbidden
from storage_backends.netapp.ontap.fields import Fields
from storage_backends.netapp.ontap.mapping import has_name
from storage_backends.netapp.ontap.queries import Query, next_page, quote_literal
from storage_backends.netapp.ontap.responses import Json, Transform
from storage_backends.netapp.ontap.unknown_fields import ask

#: Records per page; with more, real filers exceed their own time limits.
PAGE = 500
#: The pause before an empty page with the same link is requested again (seconds), and how often at most.
EMPTY_PAGE_PAUSE_S, _MAX_EMPTY_PAGES = 0.5, 60
_SVM_IN_SERVICE = frozenset({"running", "starting"})


def pages(
    client: OntapClient,
    path: str,
    query: Query,
    fields: Sequence[str],
    *,
    journal: Journal,
    transform: Transform | None = None,
) -> Iterator[list[Any]]:
    """Yield the records of a collection, page by page, converted by ``transform``; a page before the last may be empty.

    Raises:
        StorageError: no response, a refusal, a malformed response, or an endless listing.
    """
    answer = ask(client, path, {**query, "max_records": PAGE}, fields, journal=journal, transform=transform)
    followed: set[str] = set()
    empty = 0
    while True:
        records = _records(answer)
        yield records
        url = _next(answer, path)
        if url is None:
            return
        empty = 0 if records else empty + 1
        # The filer's own time limit may end a page before its first record; the next link may then be the same.
        if (records and url in followed) or empty > _MAX_EMPTY_PAGES:
            raise StorageError("The storage system's listing does not come to an end.")
        if url in followed:
            journal.wait(EMPTY_PAGE_PAUSE_S)
        followed.add(url)
        answer = client.get_url(url, journal=journal, transform=transform)


def svm_pages(
    client: OntapClient,
    path: str,
    query: Query,
    fields: Sequence[str],
    *,
    journal: Journal,
    transform: Transform | None = None,
) -> Iterator[list[Any]]:
    """Yield the SVM's records as ``pages`` does, and check at the end that they were all.

    Raises:
        BackendUnavailable: the SVM is not there; renamed between two pages, it looks like the end of the listing.
        StorageError: as for ``pages``.
    """
    record_count = page_count = 0
    for page in pages(client, path, in_svm(client, **query), fields, journal=journal, transform=transform):
        record_count, page_count = record_count + len(page), page_count + 1
        yield page
    if not record_count or page_count > 1:
        require_svm(client, journal=journal)


def _records(answer: Json) -> list[Any]:
    records = answer.get("records", [] if answer.get("num_records") == 0 else None)
    if not isinstance(records, list):
        raise StorageError("The storage system answered with something that is no listing.")
    return records


def _next(answer: Json, path: str) -> str | None:
    """Return the path of the next page below ``/api``; None at the end."""
    href = Fields(answer).text("_links.next.href")
    if not href:
        return None
    url = next_page(href, path)
    if url is None:
        raise StorageError("The storage system's listing goes on in another collection.")
    return url


def all_records(client: OntapClient, path: str, query: Query, fields: Sequence[str], *, journal: Journal) -> list[Json]:
    """Return all records of a small collection; entries that are not objects are skipped."""
    listed = pages(client, path, query, fields, journal=journal)
    return [record for page in listed for record in page if isinstance(record, dict)]


def in_svm(client: OntapClient, **query: str | int) -> dict[str, str | int]:
    """Return a query that is restricted to the configured SVM."""
    return {"svm.name": quote_literal(client.vserver), **query}


def require_svm(client: OntapClient, *, journal: Journal) -> None:
    """Return if the configured SVM exists and is in service now.

    To be called after the response that is to be believed: an SVM may be renamed at any moment.

    Raises:
        BackendUnavailable: it is not, or not visible: then objects that were not found may still exist.
    """
    query = {"name": quote_literal(client.vserver)}
    try:
        svms = all_records(client, "/svm/svms", query, ("name", "state"), journal=journal)
    except NotFound:
        svms = []
    except StorageError as refusal:
        if not is_forbidden(refusal):
            raise
        raise BackendUnavailable(
            "The service's account may not read /svm/svms, so nobody can say whether the vserver is there.",
            backend_error=refusal.backend_error,
        ) from None
    state = next((record.get("state") for record in svms if record.get("name") == client.vserver), "missing")
    if state == "missing":
        raise BackendUnavailable(
            "The storage system does not have the configured vserver, or the account does not see it."
        )
    if state is not None and state not in _SVM_IN_SERVICE:
        raise BackendUnavailable(f"The configured vserver is not in service: it is {state}.")


def volumes_where(
    client: OntapClient, key: str, value: str, *, journal: Journal, fields: Sequence[str] = mapping.VOLUME_FIELDS
) -> list[Json]:
    """Return the SVM's volumes, including restricted ones, with exactly that ``name``, or ``nas.path`` in any case."""
    query = in_svm(client, **{key: quote_literal(value)})
    records = list(filter(has_name, all_records(client, "/storage/volumes", query, fields, journal=journal)))
    if key == "name":
        return [record for record in records if record["name"] == value]
    return [record for record in records if junction_key(path_of(record)) == junction_key(value)]


def path_of(record: Json) -> str:
    """Return the junction path of a volume; "" if it is not mounted."""
    return Fields(record).text("nas.path") or ""


def uuid_of(record: Json) -> str:
    """Return the uuid of an object, for URLs.

    Raises:
        StorageError: the record has none.
    """
    uuid = Fields(record).text("uuid")
    if not uuid:
        raise StorageError("The storage system does not tell the object's uuid, so that it cannot be changed.")
    return uuid


def find_volume(client: OntapClient, volume: str, *, journal: Journal) -> Json:
    """Return the record of one volume in service, by name or ``node:/junction/path``.

    Raises:
        NoSuchVolume: there is none.
    """
    reference = parse_reference(volume)
    key, value = ("name", volume) if reference is None else ("nas.path", reference.junction_path)
    for record in volumes_where(client, key, value, journal=journal):
        if mapping.is_volume(record):
            return record
    require_svm(client, journal=journal)
    raise NoSuchVolume("There is no such volume.")


def find_data_volume(client: OntapClient, volume: str, *, journal: Journal) -> Json:
    """Return the record of one volume in service that may be changed.

    Raises:
        NoSuchVolume: there is none.
        NotADataVolume: it is a copy made by the storage system, or the root of the SVM's namespace.
    """
    record = find_volume(client, volume, journal=journal)
    require_data_volume(record)
    return record


def require_data_volume(record: Json) -> None:
    """Raise NotADataVolume unless the volume may be changed."""
    if not mapping.is_data_volume(record):
        kind = f"of type {record['type']}" if mapping.is_copy(record) else "the root volume of the vserver"
        raise NotADataVolume(f"The volume is {kind}: it is shown, and never changed.")


def volume_by_uuid(
    client: OntapClient, uuid: str, *, journal: Journal, fields: Sequence[str] = mapping.VOLUME_FIELDS
) -> Json:
    """Return the record of one volume in any state.

    Raises:
        NoSuchVolume: there is none.
    """
    try:
        record = ask(client, f"/storage/volumes/{uuid}", {}, fields, journal=journal)
    except NotFound:
        require_svm(client, journal=journal)
        raise NoSuchVolume("There is no such volume (any more).") from None
    if not has_name(record) or record.get("uuid", uuid) != uuid:
        raise StorageError("The storage system answered with something that is no volume, or another one.")
    return record


def nodes_of_aggregates(client: OntapClient, *, journal: Journal) -> dict[str, str]:
    """Return the node of each aggregate, for releases before 9.17.1, whose volumes do not have it."""
    if client.svm_scoped:
        return {}
    try:
        aggregates = all_records(client, "/storage/aggregates", {}, ("name", "node.name"), journal=journal)
    except StorageError as refusal:
        # An account of one SVM never sees aggregates: the node stays unknown.
        client.svm_scoped = is_forbidden(refusal)
        return {}
    nodes = {str(entry.get("name")): Fields(entry).text("node.name") for entry in aggregates}
    return {aggregate: node for aggregate, node in nodes.items() if node}
