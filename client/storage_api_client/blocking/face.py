# Made of ../aio/face.py by tools/faces.py: change it there, and run `make client_files`.
"""What all parts of a client share: its connections, its credentials, its time limit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from storage_api_client.blocking.driver import Driver
from storage_api_client.blocking.job import Job
from storage_api_client.operations.settings import options
from storage_api_client.protocol.asking import Context
from storage_api_client.protocol.changing import Change, Options, perform, submit
from storage_api_client.protocol.messages import Flow
from storage_api_client.protocol.reading import Read, pages, read

T = TypeVar("T")


@dataclass(frozen=True)
class Face:
    """Carries out reads and changes.

    Attributes:
        timeout: seconds for each call, where it does not say; None: the defaults.
    """

    driver: Driver
    context: Context
    timeout: float | None = None

    def run(self, flow: Flow[T]) -> T:
        """Carry out a flow."""
        return self.driver.run(flow)

    def iterate(self, flow: Flow[None]) -> Iterator[Any]:
        """Iterate over what a flow emits."""
        return self.driver.iterate(flow)

    def read(self, what: Read[T], *, fresh: bool = False) -> T:
        """Read one object."""
        return self.run(read(self.context, what, fresh=fresh, timeout=self.timeout))

    def pages(self, what: Read[T], *, limit: int | None = None, fresh: bool = False) -> Iterator[T]:
        """Iterate over a collection."""
        return self.iterate(pages(self.context, what, limit=limit, fresh=fresh, timeout=self.timeout))

    def options(self, more: Mapping[str, Any]) -> Options:
        """Return the options of a call; its time limit is ours, where it has none of its own."""
        chosen = options(more)
        return chosen if chosen.timeout is not None else replace(chosen, timeout=self.timeout)

    def change(self, change: Change[T], more: Mapping[str, Any], *, wait: bool) -> Any:
        """Make a change: return what it led to, or its job at once."""
        chosen = self.options(more)
        if wait:
            return self.run(perform(self.context, change, chosen))
        return Job.bound(self.run(submit(self.context, change, chosen)), self, change.result)
