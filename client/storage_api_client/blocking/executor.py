# Generated from ../aio/executor.py by tools/make_blocking.py: change it there, and run `make client_files`.
"""Executes reads and changes with the connections, credentials and time limit of one client."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from storage_api_client.blocking.driver import Driver
from storage_api_client.blocking.job import Job
from storage_api_client.operations.settings import options
from storage_api_client.protocol.changes import Change, Options, perform, submit
from storage_api_client.protocol.messages import Flow
from storage_api_client.protocol.reads import Read, pages, read
from storage_api_client.protocol.retries import Context

T = TypeVar("T")


@dataclass(frozen=True)
class Executor:
    """Shared by all parts of a client.

    Attributes:
        timeout: the default time limit of a call (seconds); None: the defaults of ``deadlines``.
    """

    driver: Driver
    context: Context
    timeout: float | None = None

    def run(self, flow: Flow[T]) -> T:
        """Run a flow."""
        return self.driver.run(flow)

    def iterate(self, flow: Flow[None]) -> Iterator[Any]:
        """Iterate over the values that a flow emits."""
        return self.driver.iterate(flow)

    def read(self, what: Read[T], *, fresh: bool = False) -> T:
        """Read one object."""
        return self.run(read(self.context, what, fresh=fresh, timeout=self.timeout))

    def pages(self, what: Read[T], *, limit: int | None = None, fresh: bool = False) -> Iterator[T]:
        """Iterate over a collection."""
        return self.iterate(pages(self.context, what, limit=limit, fresh=fresh, timeout=self.timeout))

    def options(self, more: Mapping[str, Any]) -> Options:
        """Return the options of a call, with the time limit of the client unless the call has one."""
        chosen = options(more)
        return chosen if chosen.timeout is not None else replace(chosen, timeout=self.timeout)

    def change(self, change: Change[T], more: Mapping[str, Any], *, wait: bool) -> Any:
        """Submit a change; return its result, or its job when ``wait`` is false."""
        chosen = self.options(more)
        if wait:
            return self.run(perform(self.context, change, chosen))
        return Job.bound(self.run(submit(self.context, change, chosen)), self, change.result)
