"""The request for a read: the resource, the accepted age, and the resolution of volumes given by path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from flask import request

from api.http.preferences import Preferences, RequestCacheControl
from api.reads.collection_query import Query
from api.services import Services
from storage_backends.models import parse_reference
from worker.catalog import resource_types as views
from worker.catalog.operations import Operation
from worker.catalog.resource_types import ResourceType
from worker.listings.repository import ListingState


@dataclass(frozen=True)
class ReadRequest:
    """The request for a read."""

    services: Services
    operation: Operation
    resource_type: ResourceType
    subsystem: str
    arguments: Mapping[str, Any]
    query: Query
    cache_control: RequestCacheControl
    #: How long to wait for a job without a preference (seconds).
    wait_s: float
    preferences: Preferences
    #: While the storage system is unavailable: may an older copy be served than the request accepts?
    stale_if_error: bool = True
    #: The query as sent, for the job's record.
    sent_query: str = ""
    #: The resource, for the job's record (empty: the path of the request).
    target: str = ""

    @property
    def cache_key(self) -> str:
        return self.resource_type.cache_key(self.subsystem, self.arguments)

    def listing_state(self) -> ListingState:
        """Read the state of its listing from Redis."""
        return self.services.listings.listing_state(self.resource_type, self.cache_key, self.parent_key)

    @property
    def parent_key(self) -> str:
        """The cache key of a single object's collection."""
        return self.resource_type.parent.cache_key(self.subsystem, self.arguments) if self.resource_type.parent else ""

    @property
    def is_cacheable(self) -> bool:
        """Does the same URL always refer to the same resource? A path may refer to another volume tomorrow."""
        read_request = (request.view_args or {}).get("volume", "")
        return parse_reference(read_request) is None

    def accepts(self, listing_state: ListingState) -> bool:
        """Is the copy fresh enough for this request?"""
        settings = self.services.settings
        return listing_state.usable and self.cache_control.accepts(
            listing_state.age_ms / 1000, settings.cache_fresh, settings.cache_stale, settings.cache_keep
        )

    def is_stale(self, listing_state: ListingState) -> bool:
        """Is the copy due for a refresh?"""
        return listing_state.age_ms / 1000 > self.services.settings.cache_fresh

    def accepts_stale_on_error(self, listing_state: ListingState) -> bool:
        """May the copy be served while the storage system is unavailable?"""
        return (
            self.stale_if_error
            and listing_state.usable
            and not self.cache_control.no_cache
            and listing_state.age_s <= self.services.settings.cache_keep
        )


def resolve_volume_name(read_request: ReadRequest) -> ReadRequest:
    """Return the read with the volume's path replaced by its name, if that is cached and fresh."""
    path = parse_reference(str(read_request.arguments.get("volume", "")))
    if path is None or read_request.cache_control.no_cache:
        return read_request
    name = read_request.services.listings.alias(read_request.subsystem, path.junction_path)
    if name:
        return replace(read_request, arguments={**read_request.arguments, "volume": name})
    volumes = replace(read_request, resource_type=views.VOLUMES)
    listing = volumes.listing_state()
    return (
        name_in_listing(read_request, listing)
        if volumes.accepts(listing) and not volumes.is_stale(listing)
        else read_request
    )


def name_in_listing(read_request: ReadRequest, volumes: ListingState) -> ReadRequest:
    """Return the read with the volume's path replaced by its name in the listing."""
    path = parse_reference(str(read_request.arguments.get("volume", "")))
    if path is None or volumes.listing_version is None:
        return read_request
    listing = read_request.services.listing_cache.get(volumes.listing_version)
    record = listing.find_casefolded("junction_path", path.junction_path) if listing is not None else None
    return (
        replace(read_request, arguments={**read_request.arguments, "volume": record["name"]})
        if record
        else read_request
    )
