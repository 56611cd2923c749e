"""The export policies of one subsystem."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING, Any, Literal, overload

from storage_api_client.aio.executor import AsyncExecutor
from storage_api_client.aio.job import AsyncJob
from storage_api_client.models import ExportPolicy
from storage_api_client.operations import policies
from storage_api_client.operations.paths import Where
from storage_api_client.operations.settings import ChangeOptions
from storage_api_client.operations.volumes import Fields

if TYPE_CHECKING:
    from typing_extensions import Unpack


class AsyncPolicies:
    """Reads and changes of export policies; changes as those of volumes."""

    def __init__(self, executor: AsyncExecutor, subsystem: str) -> None:
        self._executor = executor
        self._subsystem = subsystem

    def list(
        self,
        *,
        where: Where = None,
        sort: str | None = None,
        fields: Fields = None,
        limit: int | None = None,
        fresh: bool = False,
    ) -> AsyncIterator[ExportPolicy]:
        """Iterate over the policies; arguments as of the listing of volumes."""
        what = policies.list_policies(self._subsystem, where, sort, fields)
        return self._executor.pages(what, limit=limit, fresh=fresh)

    async def get(self, policy: str, *, fresh: bool = False) -> ExportPolicy:
        """Return one policy.

        Raises:
            NotFound: there is none of this name.
        """
        return await self._executor.read(policies.get_policy(self._subsystem, policy), fresh=fresh)

    @overload
    async def create(
        self, policy: str, rules: Iterable[str] = (), *, wait: Literal[True] = True, **options: Unpack[ChangeOptions]
    ) -> ExportPolicy: ...
    @overload
    async def create(
        self, policy: str, rules: Iterable[str] = (), *, wait: Literal[False], **options: Unpack[ChangeOptions]
    ) -> AsyncJob[ExportPolicy]: ...
    async def create(self, policy: str, rules: Iterable[str] = (), *, wait: bool = True, **options: Any) -> Any:
        """Create a policy with these rules; duplicates are dropped, the order is kept."""
        return await self._executor.change(policies.create_policy(self._subsystem, policy, rules), options, wait=wait)

    @overload
    async def delete(self, policy: str, *, wait: Literal[True] = True, **options: Unpack[ChangeOptions]) -> None: ...
    @overload
    async def delete(
        self, policy: str, *, wait: Literal[False], **options: Unpack[ChangeOptions]
    ) -> AsyncJob[None]: ...
    async def delete(self, policy: str, *, wait: bool = True, **options: Any) -> Any:
        """Delete a policy that no volume uses."""
        return await self._executor.change(policies.delete_policy(self._subsystem, policy), options, wait=wait)

    @overload
    async def add_rule(
        self, policy: str, rule: str, *, wait: Literal[True] = True, **options: Unpack[ChangeOptions]
    ) -> ExportPolicy: ...
    @overload
    async def add_rule(
        self, policy: str, rule: str, *, wait: Literal[False], **options: Unpack[ChangeOptions]
    ) -> AsyncJob[ExportPolicy]: ...
    async def add_rule(self, policy: str, rule: str, *, wait: bool = True, **options: Any) -> Any:
        """Let a client in: a host, a domain, an address, a network or a netgroup."""
        change = policies.ensure_policy_rule_present(self._subsystem, policy, rule)
        return await self._executor.change(change, options, wait=wait)

    @overload
    async def remove_rule(
        self, policy: str, rule: str, *, wait: Literal[True] = True, **options: Unpack[ChangeOptions]
    ) -> None: ...
    @overload
    async def remove_rule(
        self, policy: str, rule: str, *, wait: Literal[False], **options: Unpack[ChangeOptions]
    ) -> AsyncJob[None]: ...
    async def remove_rule(self, policy: str, rule: str, *, wait: bool = True, **options: Any) -> Any:
        """Let a client in no more."""
        change = policies.ensure_policy_rule_absent(self._subsystem, policy, rule)
        return await self._executor.change(change, options, wait=wait)
