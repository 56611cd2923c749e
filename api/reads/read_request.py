"""A read as it was asked for: of what, how old it may be, and which volume a path in it means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from flask import request

from api.http.preferences import Freshness
from api.reads import collection_query as collections
from api.services import Parts
from storage_backends.models import parse_reference
from worker.catalog import resource_types as views
from worker.catalog.operations import Operation
from worker.catalog.resource_types import View
from worker.listings.repository import Standing


@dataclass(frozen=True)
class Read:
    """A read as it was asked for."""

    held: Parts
    operation: Operation
    view: View
    subsystem: str
    arguments: Mapping[str, Any]
    query: collections.Query
    wanted: Freshness

    @property
    def thing(self) -> str:
        return self.view.thing(self.subsystem, self.arguments)

    def standing(self, thing: str = "") -> Standing:
        """What Redis holds of it."""
        return self.held.listings.standing(self.view, thing or self.thing, self.parent_thing)

    @property
    def parent_thing(self) -> str:
        """The collection that a single object belongs to."""
        return self.view.parent.thing(self.subsystem, self.arguments) if self.view.parent else ""

    @property
    def repeatable(self) -> bool:
        """Is the same asked for whenever the same is written? A path may mean another volume tomorrow."""
        asked = (request.view_args or {}).get("volume", "")
        return parse_reference(asked) is None

    def takes(self, standing: Standing) -> bool:
        """Is the copy fresh enough for this request?"""
        settings = self.held.settings
        age_s = (standing.now_ms - standing.as_of_ms) / 1000
        return standing.usable and self.wanted.takes(
            age_s, settings.cache_fresh, settings.cache_stale, settings.cache_keep
        )

    def is_stale(self, standing: Standing) -> bool:
        """Is it time to ask the storage system again?"""
        return (standing.now_ms - standing.as_of_ms) / 1000 > self.held.settings.cache_fresh

    def keeps(self, standing: Standing) -> bool:
        """May the copy be served while the storage system is away?"""
        return standing.usable and not self.wanted.no_cache and standing.age_s <= self.held.settings.cache_keep


def by_name(asked: Read) -> Read:
    """The same read with the volume's name for its path, where the name is known well enough."""
    path = parse_reference(str(asked.arguments.get("volume", "")))
    if path is None or asked.wanted.no_cache:
        return asked
    name = asked.held.listings.alias(asked.subsystem, path.junction_path)
    if name:
        return replace(asked, arguments={**asked.arguments, "volume": name})
    volumes = replace(asked, view=views.VOLUMES)
    listing = volumes.standing()
    return named_in(asked, listing) if volumes.takes(listing) and not volumes.is_stale(listing) else asked


def named_in(asked: Read, volumes: Standing) -> Read:
    """The same read with the volume's name for its path, as the listing has it."""
    path = parse_reference(str(asked.arguments.get("volume", "")))
    if path is None or volumes.generation is None:
        return asked
    listing = asked.held.hot.get(volumes.generation)
    name = collections.mounted_at(listing, path.junction_path) if listing is not None else ""
    return replace(asked, arguments={**asked.arguments, "volume": name}) if name else asked
