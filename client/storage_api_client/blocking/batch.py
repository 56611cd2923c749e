# Generated from ../aio/batch.py by tools/make_blocking.py: change it there, and run `make client_files`.
"""Many changes in one order."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from storage_api_client.blocking.executor import Executor
from storage_api_client.blocking.job import Job
from storage_api_client.models.batches import MemberResult
from storage_api_client.operations.batches import BatchMembers, create_batch
from storage_api_client.operations.settings import ChangeOptions
from storage_api_client.protocol.batches import await_batch, members
from storage_api_client.protocol.changes import submit
from storage_api_client.protocol.deadlines import Deadline

if TYPE_CHECKING:
    from typing_extensions import Self


class Batch(BatchMembers):
    """A batch: its changes are noted, and asked for together at the end of the ``with`` block, which waits for them.

    Attributes:
        job: the batch's job, once it was asked for.
        results: what became of each member, in their order, once it has ended.
    """

    def __init__(
        self,
        executor: Executor,
        name: str | None,
        on_failure: str,
        parallel: int | None,
        more: ChangeOptions,
        *,
        wait: bool,
    ) -> None:
        super().__init__(name, on_failure, parallel)
        self.job: Job[tuple[MemberResult, ...]] | None = None
        self.results: tuple[MemberResult, ...] = ()
        self._executor = executor
        self._wait = wait
        self._options = executor.options(more)

    def submit(self) -> Job[tuple[MemberResult, ...]]:
        """Ask for the batch, all or nothing, and return its job.

        Raises:
            Refused: a member is wrong; ``errors`` say which.
        """
        flow = submit(self._executor.context, create_batch(self.order), self._options)
        self.job = Job.bound(self._executor.run(flow), self._executor, members)
        return self.job

    def run(self) -> tuple[MemberResult, ...]:
        """Ask for the batch, wait for its end, and return what became of its members.

        Raises:
            BatchFailed: not all of them succeeded; its ``results`` say what became of each.
            StillRunning: it has not ended in time; it goes on.
        """
        deadline = Deadline(self._options.timeout)
        job = self.job or self.submit()
        flow = await_batch(self._executor.context, job.id, deadline, self._options.on_progress)
        self.results = self._executor.run(flow)
        return self.results

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ask for the batch, unless something went wrong in the block."""
        if kind is None and len(self):
            (self.run() if self._wait else self.submit())
