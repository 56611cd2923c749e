# Made of ../aio/client.py by tools/faces.py: change it there, and run `make client_files`.
"""The client."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from storage_api_client.addresses import checked_url
from storage_api_client.blocking.batch import Batch
from storage_api_client.blocking.driver import Driver
from storage_api_client.blocking.face import Face
from storage_api_client.blocking.jobs import Jobs
from storage_api_client.blocking.policies import Policies
from storage_api_client.blocking.volumes import Volumes
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


class Subsystem:
    """One storage system.

    Attributes:
        volumes: its volumes, with their snapshots and locks.
        policies: its export policies.
    """

    def __init__(self, face: Face, name: str) -> None:
        self.name = name
        self.volumes = Volumes(face, name)
        self.policies = Policies(face, name)


class Client:
    """A client of one service; to be used in ``with``, or closed with ``close``.

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
        self._face = Face(Driver(self.url, ca_file), context, timeout)
        self.jobs = Jobs(self._face)

    @classmethod
    def from_environment(cls, profile: str | None = None, *, timeout: float | None = None) -> Self:
        """Make a client as the command line does: from STORAGE_API_URL, STORAGE_API_TOKEN, and the profile.

        Raises:
            ConfigurationError: there is no address, or a file is wrong.
        """
        service = service_settings.find(profile=profile)
        limit = service.profile.timeout if timeout is None else timeout
        return cls(service.url, credentials=service.credentials, ca_file=service.ca_file, timeout=limit)

    def close(self) -> None:
        """Close all connections."""
        self._face.driver.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def subsystem(self, name: str) -> Subsystem:
        """Return one storage system; nothing is sent yet."""
        return Subsystem(self._face, name)

    def subsystems(self) -> tuple[str, ...]:
        """Return the names of the storage systems."""
        return self._face.read(service.list_subsystems())

    def batch(
        self,
        name: str | None = None,
        *,
        on_failure: str = "continue",
        parallel: int | None = None,
        wait: bool = True,
        **options: Unpack[ChangeOptions],
    ) -> Batch:
        """Begin a batch; its changes are asked for at the end of the ``with`` block.

        Args:
            name: for people.
            on_failure: "continue", or "stop": what has not begun when a member fails is cancelled.
            parallel: the most members at work at a time.
            wait: wait for the end of all?
            options: as of every change.
        """
        return Batch(self._face, name, on_failure, parallel, options, wait=wait)

    def order(self, order: Mapping[str, Any], *, wait: bool = True, **options: Unpack[ChangeOptions]) -> Any:
        """Ask for a batch by the body of POST /v4/batches, as {"requests": …} or {"for_each": …, "request": …}.

        Returns what became of each member, or with ``wait=False`` the batch's job.

        Raises:
            BatchFailed: not all members succeeded.
        """
        chosen = self._face.options(options)
        if wait:
            return self._face.run(run_batch(self._face.context, create_batch(order), chosen))
        return self._face.change(create_batch(order), options, wait=False)

    def batch_results(
        self, batch_id: str, *, timeout: float | None = None, on_progress: Progressed | None = None
    ) -> tuple[MemberResult, ...]:
        """Wait for the end of a batch, and return what became of each member.

        Raises:
            BatchFailed: not all members succeeded.
        """
        deadline = Deadline(self._face.timeout if timeout is None else timeout)
        return self._face.run(await_batch(self._face.context, batch_id, deadline, on_progress))

    def events(self, *, after: str | None = None, **chosen: Unpack[JobFilter]) -> Iterator[Event]:
        """Iterate over the changes of jobs as they happen; goes on after a lost connection, and does not end by itself.

        Args:
            after: the id of an event to go on after; None: from now on.
            chosen: which jobs, as of ``jobs.list``.
        """
        flow = events(self._face.context, filter_query(chosen), after=after, timeout=self._face.timeout)
        return self._face.iterate(flow)

    def roles(self) -> tuple[str, ...]:
        """Return one's own roles: USER, ADMIN, UBER_ADMIN."""
        return self._face.read(service.list_my_roles())

    def has_role(self, role: str) -> bool:
        """Return whether one has a role."""
        return self._face.read(service.has_role(role))

    def all_roles(self) -> Mapping[str, tuple[str, ...]]:
        """Return the roles that there are, each with the groups that have it."""
        names = self._face.read(service.list_roles())
        return {name: self._face.read(service.list_groups(name)) for name in names}

    def end_sessions(self, user: str) -> int:
        """End all sessions of a user, by name or id, and return how many there were; needs UBER_ADMIN."""
        return self._face.run(service.end_sessions(self._face.context, user, self._face.timeout))

    def is_alive(self) -> bool:
        """Return whether the service's process lives."""
        return self._face.run(service.is_alive(self._face.context))

    def readiness(self) -> tuple[bool, Any]:
        """Return whether the service can take jobs, and what it says of itself."""
        return self._face.run(service.readiness(self._face.context))

    def metrics(self) -> str:
        """Return the service's metrics in Prometheus's text format."""
        return self._face.run(service.metrics(self._face.context))

    def openapi(self) -> dict[str, Any]:
        """Return the service's OpenAPI document."""
        return self._face.read(service.openapi())
