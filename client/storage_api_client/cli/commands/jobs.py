"""``storage-api job …``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from storage_api_client.cli.exit_status import ExitStatus, worst
from storage_api_client.cli.failures import explain
from storage_api_client.cli.names import PROGRAM
from storage_api_client.cli.options import KEY, YES, Group, command, job_filter, jobs_chosen, options_of
from storage_api_client.cli.state import State, Stop

if TYPE_CHECKING:
    from storage_api_client.aio.client import AsyncClient
    from storage_api_client.cli.progress import Reporter
    from storage_api_client.errors import StorageApiError

#: Jobs that are followed at a time; each takes a connection.
_AT_ONCE = 20
#: Ids of one request.
_MOST_IDS = 200
COLUMNS = ("id", "operation", "target", "state", "progress.percent", "created_at", "error.code")
OTHERS = ("id", "operation", "target", "state", "requested_by", "created_at", "queue.waiting_reason", "error.code")
IDS = click.argument("ids", nargs=-1, required=True, metavar="ID…")
TIMEOUT = click.option("--timeout", type=click.FloatRange(0), metavar="SECONDS", help="Wait no longer (default: 300).")


@click.group("job", cls=Group)
def group() -> None:
    """Jobs: find, follow, cancel, do again."""


@command(group, "list", "list_jobs")
@jobs_chosen
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, metavar="N", help="At most N.")
def list_(state: State, *, limit: int, **chosen: Any) -> None:
    """List jobs, the newest first: your own, or with --all everybody's."""
    filters = job_filter(chosen)
    with state.client() as api:
        state.show(api.jobs.list(limit=limit, **filters), OTHERS if filters.get("all") else COLUMNS)


def do_for_each(ids: Iterable[str], do: Callable[[str], ExitStatus]) -> None:
    """Do something for each of several, say what goes wrong, and end with the worst status."""
    from storage_api_client.errors import StorageApiError

    statuses = []
    for id_ in ids:
        try:
            statuses.append(do(id_))
        except Stop as end:  # noqa: PERF203 - each by itself
            statuses.append(end.status)
        except StorageApiError as error:
            statuses.append(explain(error))
    if (status := worst(statuses)) is not ExitStatus.DONE:
        raise Stop(status)


@command(group, "show", "get_job")
@IDS
def show(state: State, ids: tuple[str, ...]) -> None:
    """Show jobs as they are."""
    with state.client() as api:
        if len(ids) == 1:
            state.show([api.jobs.get(ids[0])], COLUMNS, single=True)
            return
        jobs: list[Any] = []

        def get(id_: str) -> ExitStatus:
            jobs.append(api.jobs.get(id_))
            return ExitStatus.DONE

        try:
            do_for_each(ids, get)
        finally:
            state.show(jobs, COLUMNS)


@command(group, "wait")
@IDS
@TIMEOUT
def wait(state: State, ids: tuple[str, ...], *, timeout: float | None) -> None:
    """Wait for the end of jobs; the exit status is the worst of theirs."""
    wait_for(state, ids, timeout)


@command(group, "watch")
@IDS
@TIMEOUT
def watch(state: State, ids: tuple[str, ...], *, timeout: float | None) -> None:
    """Show how far jobs are until they have ended; the exit status is the worst of theirs."""
    try:
        wait_for(state, ids, timeout)
    except Stop as end:
        _show_jobs(state, ids)
        raise end from None
    _show_jobs(state, ids)


def _show_jobs(state: State, ids: tuple[str, ...]) -> None:
    """Show jobs; where that fails the exit status is still theirs."""
    from storage_api_client.errors import StorageApiError

    try:
        with state.client() as api:
            starts = range(0, len(ids), _MOST_IDS)
            jobs = [job for start in starts for job in api.jobs.list(id=ids[start : start + _MOST_IDS], all=True)]
    except StorageApiError as error:
        explain(error)
    else:
        state.show(jobs, COLUMNS)


def wait_for(state: State, ids: tuple[str, ...], timeout: float | None) -> None:
    """Wait for jobs, all at once, say what went wrong, and end with the worst status."""
    import asyncio

    from storage_api_client.cli.progress import reporting

    state.jobs = list(dict.fromkeys(ids))
    with reporting(state) as reporter:
        ends = asyncio.run(_follow(state, reporter, timeout))
    if (status := worst(ExitStatus.DONE if end is None else explain(end) for end in ends)) is not ExitStatus.DONE:
        raise Stop(status)


async def _follow(state: State, reporter: Reporter, timeout: float | None) -> list[StorageApiError | None]:
    """How each job ended; None where it succeeded. ``timeout`` is for all of them together."""
    import asyncio

    from storage_api_client.errors import StorageApiError
    from storage_api_client.protocol.deadlines import Deadline

    at_once, deadline = asyncio.Semaphore(_AT_ONCE), Deadline(timeout)

    async def follow(api: AsyncClient, id_: str) -> StorageApiError | None:
        try:
            async with at_once:
                job = await api.jobs.get(id_)
                await job.ended(None if timeout is None else deadline.left_s, reporter.show)
        except StorageApiError as error:
            return error
        state.jobs.remove(id_)
        return None

    # Also the time for which a service that is away is asked again.
    async with state.async_client(timeout) as api:
        return await asyncio.gather(*(follow(api, id_) for id_ in tuple(state.jobs)))


@command(group, "result", "get_job_result")
@IDS
def result(state: State, ids: tuple[str, ...]) -> None:
    """Show what jobs led to: what the call by itself would have answered. Waits for their end."""
    with state.client() as api:

        def show_one(id_: str) -> ExitStatus:
            body = api.jobs.wait(id_)
            rows = body if isinstance(body, list) else [body]
            if body is not None:
                state.show(rows, _columns(rows), single=not isinstance(body, list))
            return ExitStatus.DONE

        do_for_each(ids, show_one)


def _columns(rows: list[Any]) -> tuple[str, ...]:
    return tuple(rows[0])[:6] if rows and isinstance(rows[0], dict) else ("value",)


@command(group, "cancel", "cancel_job", "cancel_jobs")
@click.argument("ids", nargs=-1, metavar="[ID…]")
@jobs_chosen
@YES
def cancel(state: State, ids: tuple[str, ...], *, yes: bool, **chosen: Any) -> None:
    """Ask jobs to stop: those that are named, or all that the options choose.

    A queued job never starts; a running change stops only where that is safe.
    """
    if _chosen(ids, chosen):
        _in_bulk(state, "cancel", chosen, yes=yes)
        return
    with state.client() as api:
        do_for_each(ids, lambda id_: _report_state(state, api.jobs.cancel(id_), "is"))


def _report_state(state: State, job: Any, word: str) -> ExitStatus:
    state.note(f"Job {job.id} {word} {job.state}.")
    return ExitStatus.DONE


@command(group, "retry", "retry_job", "retry_jobs")
@click.argument("ids", nargs=-1, metavar="[ID…]")
@jobs_chosen
@KEY
@YES
def retry(state: State, ids: tuple[str, ...], *, idempotency_key: str | None, yes: bool, **chosen: Any) -> None:
    """Do failed or cancelled jobs again: those that are named, or all that the options choose.

    The ids of the new jobs are written to standard output; wait for them with: storage-api job wait ID…
    """
    is_bulk = _chosen(ids, chosen)
    if idempotency_key is not None and len(ids) > 1:
        raise click.UsageError("A key is that of one request: name one job, or choose jobs with options.")
    if is_bulk:
        _in_bulk(state, "retry", chosen, key=idempotency_key, yes=yes)
        return
    with state.client() as api:
        made: list[Any] = []

        def again(id_: str) -> ExitStatus:
            with retrying(state, f"job retry {id_}", idempotency_key) as key:
                made.append(api.jobs.retry(id_, idempotency_key=key))
            return ExitStatus.DONE

        try:
            do_for_each(ids, again)
        finally:
            _show_ids(state, made)


@contextmanager
def retrying(state: State, words: str, key: str | None) -> Iterator[str]:
    """Yield the Idempotency-Key of a retry: where it may have been accepted, the error says how to go on with it."""
    import uuid

    from storage_api_client.errors import OutcomeUnknown

    state.key = str(uuid.uuid4()) if key is None else key
    state.command = f"{PROGRAM} {words}"
    try:
        yield state.key
    except OutcomeUnknown as unknown:
        raise Stop(explain(unknown, state.command)) from None
    state.key = None


def _show_ids(state: State, jobs: list[Any]) -> None:
    if state.format == "table":
        state.output = "name"
    state.show(jobs, ("id",))


def _chosen(ids: tuple[str, ...], chosen: dict[str, Any]) -> bool:
    """Were jobs chosen by options?"""
    by_options = any(chosen.values())
    if bool(ids) == by_options:
        raise click.UsageError("Name jobs, or choose them with options such as --volume; not both.")
    return by_options


def _in_bulk(state: State, what: str, chosen: dict[str, Any], *, yes: bool, key: str | None = None) -> None:
    filters = job_filter(chosen)
    conditions = ", ".join(f"{name} {value}" for name, value in filters.items())
    state.confirm(f"{what.capitalize()} all jobs with {conditions} (at most 1000)?", yes=yes)
    with state.client() as api:
        if what == "cancel":
            done = api.jobs.cancel_all(**filters)
        else:
            with retrying(state, f"job retry {options_of(filters)}", key) as sent_key:
                done = api.jobs.retry_all(**filters, idempotency_key=sent_key)
    for refusal in done.refused:
        state.note(f"Job {refusal.get('id')} was left as it is: {refusal.get('code')}")
    state.note(f"{len(done.done)} jobs {'are cancelled' if what == 'cancel' else 'begin anew'}.")
    _show_ids(state, [{"id": id_} for id_ in done.done])
    if done.refused:
        raise Stop(ExitStatus.FAILED)


@command(group, "settle", "settle_job")
@click.argument("id_", metavar="ID")
@click.argument("outcome", type=click.Choice(["succeeded", "failed", "unknown"]))
def settle(state: State, id_: str, outcome: str) -> None:
    """Say what became of a change whose outcome is being looked for, so that its volume is free again."""
    with state.client() as api:
        state.show([api.jobs.settle(id_, outcome)], COLUMNS, single=True)
