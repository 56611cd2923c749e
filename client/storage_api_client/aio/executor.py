"""Executes reads and changes with the connections, credentials and time limit of one client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from storage_api_client.aio.driver import AsyncDriver
from storage_api_client.aio.job import AsyncJob
from storage_api_client.operations.settings import options
from storage_api_client.protocol.changes import Change, Options, perform, submit
from storage_api_client.protocol.messages import Flow
from storage_api_client.protocol.reads import Read, pages, read
from storage_api_client.protocol.retries import Context

T = TypeVar("T")


@dataclass(frozen=True)
class AsyncExecutor:
    """Shared by all parts of a client.

    Attributes:
        timeout: the default time limit of a call (seconds); None: the defaults of ``deadlines``.
    """

    driver: AsyncDriver
    context: Context
    timeout: float | None = None

    async def run(self, flow: Flow[T]) -> T:
        """Run a flow."""
        return await self.driver.run(flow)

    def iterate(self, flow: Flow[None]) -> AsyncIterator[Any]:
        """Iterate over the values that a flow emits."""
        return self.driver.iterate(flow)

    async def read(self, what: Read[T], *, fresh: bool = False) -> T:
        """Read one object."""
        return await self.run(read(self.context, what, fresh=fresh, timeout=self.timeout))

    def pages(self, what: Read[T], *, limit: int | None = None, fresh: bool = False) -> AsyncIterator[T]:
        """Iterate over a collection."""
        return self.iterate(pages(self.context, what, limit=limit, fresh=fresh, timeout=self.timeout))

    def options(self, more: Mapping[str, Any]) -> Options:
        """Return the options of a call, with the time limit of the client unless the call has one."""
        chosen = options(more)
        return chosen if chosen.timeout is not None else replace(chosen, timeout=self.timeout)

    async def change(self, change: Change[T], more: Mapping[str, Any], *, wait: bool) -> Any:
        """Submit a change; return its result, or its job when ``wait`` is false."""
        chosen = self.options(more)
        if wait:
            return await self.run(perform(self.context, change, chosen))
        return AsyncJob.bound(await self.run(submit(self.context, change, chosen)), self, change.result)
