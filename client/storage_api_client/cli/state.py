"""The state of one call of the command line: the service, the output format, and the jobs that it waits for."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from storage_api_client.cli import streams
from storage_api_client.cli.exit_status import ExitStatus
from storage_api_client.cli.names import SAME_COMMAND

if TYPE_CHECKING:
    from storage_api_client.aio.client import AsyncClient
    from storage_api_client.blocking.client import Client
    from storage_api_client.cli.progress import Reporter
    from storage_api_client.configuration.service_settings import ServiceSettings
    from storage_api_client.models import JobRecord

FORMATS = ("table", "json", "yaml", "csv", "name")


class Stop(Exception):
    """End with this exit status; the messages were printed."""

    def __init__(self, status: ExitStatus) -> None:
        super().__init__(status)
        self.status = status


@dataclass
class State:
    """One call.

    Attributes:
        jobs: ids of the jobs that are being waited for; they go on when we are interrupted.
        key: the Idempotency-Key of the change that is being asked for, until there is a job.
        command: what to give that key to, so that it is still the same request.
    """

    url: str | None = None
    profile: str | None = None
    output: str | None = None
    jobs: list[str] = field(default_factory=list)
    key: str | None = None
    command: str = SAME_COMMAND
    say: Callable[[str], None] = field(default=streams.say)
    _found: ServiceSettings | None = None

    @property
    def service(self) -> ServiceSettings:
        """Which service is meant, and who asks."""
        from storage_api_client.configuration import service_settings

        if self._found is None:
            self._found = service_settings.find(self.url, self.profile)
        return self._found

    @property
    def format(self) -> str:
        """One of FORMATS."""
        if self.output is None and self._found is not None and self._found.profile.output in FORMATS:
            return str(self._found.profile.output)
        return self.output or "table"

    def client(self, timeout: float | None = None) -> Client:
        """A client of the service, to be used in ``with``."""
        from storage_api_client.blocking.client import Client

        return Client(self.service.url, **self._client_options(timeout))

    def async_client(self, timeout: float | None = None) -> AsyncClient:
        """An asynchronous client of the service, to be used in ``async with``."""
        from storage_api_client.aio.client import AsyncClient

        return AsyncClient(self.service.url, **self._client_options(timeout))

    def _client_options(self, timeout: float | None) -> dict[str, Any]:
        service = self.service
        limit = service.profile.timeout if timeout is None else timeout
        return {
            "credentials": service.credentials,
            "ca_file": service.ca_file,
            "timeout": limit,
            "notify": self.note,
        }

    def note(self, sentence: str) -> None:
        """Say something on standard error."""
        self.say(sentence)

    def show(self, records: Iterable[Any], columns: Iterable[str], *, single: bool = False) -> None:
        """Write data to standard output; a ``single`` record with all that it holds."""
        from storage_api_client.cli.output import write

        write(list(records), tuple(columns), self.format, single=single)

    def show_made(self, record: Any, columns: Iterable[str]) -> None:
        """Write what a change led to: one object, which is one line of a table."""
        from storage_api_client.cli.output import write

        write([record], tuple(columns), self.format, single=self.format != "table")

    def confirm(self, question: str, *, yes: bool) -> None:
        """Ask, unless ``--yes`` was given.

        Raises:
            Stop: the answer is no, or there is nobody to ask.
        """
        if yes:
            return
        if not sys.stdin.isatty():
            self.note(f"{question}\nstorage-api: nobody is there to ask; say --yes to do it. Nothing was changed.")
            raise Stop(ExitStatus.USAGE)
        if not click.confirm(question, err=True):
            self.note("Nothing was changed.")
            raise Stop(ExitStatus.FAILED)


@dataclass
class ChangeCommand:
    """A change submitted by a command, with the options that all of them have."""

    state: State
    wait: bool = True
    timeout: float | None = None
    key: str | None = None

    def change(self, call: Callable[..., Any], show: Callable[[Any], None] | None = None, *, done: str = "") -> None:
        """Make a change, and show what it led to, or its job's id with --no-wait.

        Args:
            call: the method of the client; called with ``wait`` and the options of a change.
            show: shows the result.
            done: said on standard error afterwards, where there is nothing to show.
        """
        from storage_api_client.cli.progress import reporting

        state = self.state
        state.key = str(uuid.uuid4()) if self.key is None else self.key
        options: dict[str, Any] = {"timeout": self.timeout, "idempotency_key": state.key}
        if not self.wait:
            job = call(wait=False, **options)
            click.echo(job.id) if state.format == "table" else state.show([job], ("id",), single=True)
            return
        with reporting(state) as reporter:
            result = call(wait=True, on_progress=self._noting(reporter), **options)
        if show:
            show(result)
        elif done:
            state.note(done)

    def _noting(self, reporter: Reporter) -> Callable[[JobRecord], None]:
        def progressed(job: JobRecord) -> None:
            self.state.jobs = [job.id]
            reporter.show(job)

        return progressed
