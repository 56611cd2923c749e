"""The client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from storage_api_client.addresses import checked_url
from storage_api_client.aio.batch import AsyncBatch
from storage_api_client.aio.driver import AsyncDriver
from storage_api_client.aio.executor import AsyncExecutor
from storage_api_client.aio.jobs import AsyncJobs
from storage_api_client.aio.policies import AsyncPolicies
from storage_api_client.aio.volumes import AsyncVolumes
from storage_api_client.configuration import service_settings
from storage_api_client.models.batches import Event, MemberResult
from storage_api_client.operations import service
from storage_api_client.operations.batches import create_batch
from storage_api_client.operations.jobs import JobFilter, filter_query
from storage_api_client.protocol.batches import await_batch, run_batch
from storage_api_client.protocol.deadlines import Deadline
from storage_api_client.protocol.events import events
from storage_api_client.protocol.polling import ProgressCallback
from storage_api_client.protocol.retries import Context, Credentials, ignore_notice
from storage_api_client.sign_in.static_credentials import credentials_of

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from storage_api_client.operations.settings import ChangeOptions


class AsyncSubsystem:
    """One storage system.

    Attributes:
        volumes: its volumes, with their snapshots and locks.
        policies: its export policies.
    """

    def __init__(self, executor: AsyncExecutor, name: str) -> None:
        self.name = name
        self.volumes = AsyncVolumes(executor, name)
        self.policies = AsyncPolicies(executor, name)


class AsyncClient:
    """A client of one service; to be used in ``async with``, or closed with ``aclose``.

    Attributes:
        jobs: jobs: finding, following, cancelling, repeating.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        basic: tuple[str, str] | None = None,
        credentials: Credentials | None = None,
        timeout: float | None = None,
        ca_file: str | None = None,
        notify: Callable[[str], None] = ignore_notice,
    ) -> None:
        """Create a client; nothing is sent yet.

        Args:
            url: the address of the service, such as "https://storage.example.org".
            token: a bearer token.
            basic: user name and password, in the place of a token.
            credentials: any other way to sign in.
            timeout: the default time limit of a call (seconds; default: 300, and 20 for an unreachable service).
            ca_file: certificates of authorities to trust, in the place of the system's.
            notify: called with a sentence for people when a request is retried.

        Raises:
            ValueError: the address is invalid.
        """
        self.url = checked_url(url)
        context = Context(credentials or credentials_of(token, basic), notify)
        self._executor = AsyncExecutor(AsyncDriver(self.url, ca_file), context, timeout)
        self.jobs = AsyncJobs(self._executor)

    @classmethod
    def from_environment(cls, profile: str | None = None, *, timeout: float | None = None) -> Self:
        """Create a client as the command line does: from STORAGE_API_URL, STORAGE_API_TOKEN, and the profile.

        Raises:
            ConfigurationError: there is no address, or a file is wrong.
        """
        service = service_settings.find(profile=profile)
        limit = service.profile.timeout if timeout is None else timeout
        return cls(service.url, credentials=service.credentials, ca_file=service.ca_file, timeout=limit)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._executor.driver.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def subsystem(self, name: str) -> AsyncSubsystem:
        """Return one storage system; nothing is sent yet."""
        return AsyncSubsystem(self._executor, name)

    async def subsystems(self) -> tuple[str, ...]:
        """Return the names of the storage systems."""
        return await self._executor.read(service.list_subsystems())

    def batch(
        self,
        name: str | None = None,
        *,
        on_failure: str = "continue",
        parallel: int | None = None,
        wait: bool = True,
        **options: Unpack[ChangeOptions],
    ) -> AsyncBatch:
        """Begin a batch, which is submitted at the end of the ``with`` block.

        Args:
            name: a name for people.
            on_failure: "continue", or "stop": what has not begun when a member fails is cancelled.
            parallel: the maximum number of members that run at a time.
            wait: wait until all members are done?
            options: the options of every change.
        """
        return AsyncBatch(self._executor, name, on_failure, parallel, options, wait=wait)

    async def order(self, order: Mapping[str, Any], *, wait: bool = True, **options: Unpack[ChangeOptions]) -> Any:
        """Submit a batch by the body of POST /v4/batches, as {"requests": …} or {"for_each": …, "request": …}.

        Returns the result of each member, or with ``wait=False`` the batch's job.

        Raises:
            BatchFailed: not all members succeeded.
        """
        chosen = self._executor.options(options)
        if wait:
            return await self._executor.run(run_batch(self._executor.context, create_batch(order), chosen))
        return await self._executor.change(create_batch(order), options, wait=False)

    async def batch_results(
        self, batch_id: str, *, timeout: float | None = None, on_progress: ProgressCallback | None = None
    ) -> tuple[MemberResult, ...]:
        """Wait for a batch, and return the result of each member.

        Raises:
            BatchFailed: not all members succeeded.
        """
        deadline = Deadline(self._executor.timeout if timeout is None else timeout)
        return await self._executor.run(await_batch(self._executor.context, batch_id, deadline, on_progress))

    def events(self, *, after: str | None = None, **chosen: Unpack[JobFilter]) -> AsyncIterator[Event]:
        """Iterate over the changes of jobs as they happen; goes on after a lost connection, and does not end by itself.

        Args:
            after: the id of an event to go on after; None: from now on.
            chosen: which jobs, as of ``jobs.list``.
        """
        flow = events(self._executor.context, filter_query(chosen), after=after, timeout=self._executor.timeout)
        return self._executor.iterate(flow)

    async def roles(self) -> tuple[str, ...]:
        """Return one's own roles: USER, ADMIN, UBER_ADMIN."""
        return await self._executor.read(service.list_my_roles())

    async def has_role(self, role: str) -> bool:
        """Return whether one has a role."""
        return await self._executor.read(service.has_role(role))

    async def all_roles(self) -> Mapping[str, tuple[str, ...]]:
        """Return the roles that there are, each with the groups that have it."""
        names = await self._executor.read(service.list_roles())
        return {name: await self._executor.read(service.list_groups(name)) for name in names}

    async def end_sessions(self, user: str) -> int:
        """End all sessions of a user, by name or id, and return how many there were; needs UBER_ADMIN."""
        return await self._executor.run(service.end_sessions(self._executor.context, user, self._executor.timeout))

    async def is_alive(self) -> bool:
        """Return whether the service's process lives."""
        return await self._executor.run(service.is_alive(self._executor.context))

    async def readiness(self) -> tuple[bool, Any]:
        """Return whether the service can accept jobs, and its readiness document."""
        return await self._executor.run(service.readiness(self._executor.context))

    async def metrics(self) -> str:
        """Return the service's metrics in Prometheus's text format."""
        return await self._executor.run(service.metrics(self._executor.context))

    async def openapi(self) -> dict[str, Any]:
        """Return the service's OpenAPI document."""
        return await self._executor.read(service.openapi())
