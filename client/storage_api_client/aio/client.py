"""The client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from storage_api_client.addresses import checked_url
from storage_api_client.aio.batch import AsyncBatch
from storage_api_client.aio.driver import AsyncDriver
from storage_api_client.aio.face import AsyncFace
from storage_api_client.aio.jobs import AsyncJobs
from storage_api_client.aio.policies import AsyncPolicies
from storage_api_client.aio.volumes import AsyncVolumes
from storage_api_client.configuration import service_settings
from storage_api_client.models.batches import Event, MemberResult
from storage_api_client.operations import service
from storage_api_client.operations.batches import create_batch
from storage_api_client.operations.jobs import JobFilter, filter_query
from storage_api_client.protocol.asking import Context, Credentials, quietly
from storage_api_client.protocol.batches import await_batch, run_batch
from storage_api_client.protocol.deadlines import Deadline
from storage_api_client.protocol.events import events
from storage_api_client.protocol.following import Progressed
from storage_api_client.sign_in.simple import credentials_of

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from storage_api_client.operations.settings import ChangeOptions


class AsyncSubsystem:
    """One storage system.

    Attributes:
        volumes: its volumes, with their snapshots and locks.
        policies: its export policies.
    """

    def __init__(self, face: AsyncFace, name: str) -> None:
        self.name = name
        self.volumes = AsyncVolumes(face, name)
        self.policies = AsyncPolicies(face, name)


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
        notify: Callable[[str], None] = quietly,
    ) -> None:
        """Make a client; nothing is sent yet.

        Args:
            url: where the service is, as "https://storage.example.org".
            token: a bearer token.
            basic: user name and password, in the place of a token.
            credentials: any other way to sign in.
            timeout: seconds for each call, where it does not say (default: 300; 20 for a service that does not answer).
            ca_file: certificates of authorities to trust, in the place of the system's.
            notify: told, in a sentence, when something is tried again.

        Raises:
            ValueError: the address is none.
        """
        self.url = checked_url(url)
        context = Context(credentials or credentials_of(token, basic), notify)
        self._face = AsyncFace(AsyncDriver(self.url, ca_file), context, timeout)
        self.jobs = AsyncJobs(self._face)

    @classmethod
    def from_environment(cls, profile: str | None = None, *, timeout: float | None = None) -> Self:
        """Make a client as the command line does: from STORAGE_API_URL, STORAGE_API_TOKEN, and the profile.

        Raises:
            ConfigurationError: there is no address, or a file is wrong.
        """
        service = service_settings.find(profile=profile)
        limit = service.profile.timeout if timeout is None else timeout
        return cls(service.url, credentials=service.credentials, ca_file=service.ca_file, timeout=limit)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._face.driver.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def subsystem(self, name: str) -> AsyncSubsystem:
        """Return one storage system; nothing is sent yet."""
        return AsyncSubsystem(self._face, name)

    async def subsystems(self) -> tuple[str, ...]:
        """Return the names of the storage systems."""
        return await self._face.read(service.list_subsystems())

    def batch(
        self,
        name: str | None = None,
        *,
        on_failure: str = "continue",
        parallel: int | None = None,
        wait: bool = True,
        **options: Unpack[ChangeOptions],
    ) -> AsyncBatch:
        """Begin a batch; its changes are asked for at the end of the ``with`` block.

        Args:
            name: for people.
            on_failure: "continue", or "stop": what has not begun when a member fails is cancelled.
            parallel: the most members at work at a time.
            wait: wait for the end of all?
            options: as of every change.
        """
        return AsyncBatch(self._face, name, on_failure, parallel, options, wait=wait)

    async def order(self, order: Mapping[str, Any], *, wait: bool = True, **options: Unpack[ChangeOptions]) -> Any:
        """Ask for a batch by the body of POST /v4/batches, as {"requests": …} or {"for_each": …, "request": …}.

        Returns what became of each member, or with ``wait=False`` the batch's job.

        Raises:
            BatchFailed: not all members succeeded.
        """
        chosen = self._face.options(options)
        if wait:
            return await self._face.run(run_batch(self._face.context, create_batch(order), chosen))
        return await self._face.change(create_batch(order), options, wait=False)

    async def batch_results(
        self, batch_id: str, *, timeout: float | None = None, on_progress: Progressed | None = None
    ) -> tuple[MemberResult, ...]:
        """Wait for the end of a batch, and return what became of each member.

        Raises:
            BatchFailed: not all members succeeded.
        """
        deadline = Deadline(self._face.timeout if timeout is None else timeout)
        return await self._face.run(await_batch(self._face.context, batch_id, deadline, on_progress))

    def events(self, *, after: str | None = None, **chosen: Unpack[JobFilter]) -> AsyncIterator[Event]:
        """Iterate over the changes of jobs as they happen; goes on after a lost connection, and does not end by itself.

        Args:
            after: the id of an event to go on after; None: from now on.
            chosen: which jobs, as of ``jobs.list``.
        """
        flow = events(self._face.context, filter_query(chosen), after=after, timeout=self._face.timeout)
        return self._face.iterate(flow)

    async def roles(self) -> tuple[str, ...]:
        """Return one's own roles: USER, ADMIN, UBER_ADMIN."""
        return await self._face.read(service.list_my_roles())

    async def has_role(self, role: str) -> bool:
        """Return whether one has a role."""
        return await self._face.read(service.has_role(role))

    async def all_roles(self) -> Mapping[str, tuple[str, ...]]:
        """Return the roles that there are, each with the groups that have it."""
        names = await self._face.read(service.list_roles())
        return {name: await self._face.read(service.list_groups(name)) for name in names}

    async def end_sessions(self, user: str) -> int:
        """End all sessions of a user, by name or id, and return how many there were; needs UBER_ADMIN."""
        return await self._face.run(service.end_sessions(self._face.context, user, self._face.timeout))

    async def is_alive(self) -> bool:
        """Return whether the service's process lives."""
        return await self._face.run(service.is_alive(self._face.context))

    async def readiness(self) -> tuple[bool, Any]:
        """Return whether the service can take jobs, and what it says of itself."""
        return await self._face.run(service.readiness(self._face.context))

    async def metrics(self) -> str:
        """Return the service's metrics in Prometheus's text format."""
        return await self._face.run(service.metrics(self._face.context))

    async def openapi(self) -> dict[str, Any]:
        """Return the service's OpenAPI document."""
        return await self._face.read(service.openapi())
