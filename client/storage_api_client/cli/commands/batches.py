"""``storage-api batch …``."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any, TextIO

import click

from storage_api_client.cli.commands.jobs import retrying
from storage_api_client.cli.options import KEY, Group, command, waiting
from storage_api_client.cli.state import ChangeCommand, State

if TYPE_CHECKING:
    from storage_api_client.blocking.client import Client

COLUMNS = ("status", "location", "job", "problem.code", "problem.detail")
JOBS = ("id", "operation", "target", "state", "error.code")
ID = click.argument("id_", metavar="ID")


@click.group("batch", cls=Group)
def group() -> None:
    """Batches: many changes in one order, accepted as a whole or not at all."""


@command(group, "run", "create_batch")
@click.argument("file", type=click.File(encoding="utf-8"))
@click.option("--name", help="For people.")
@click.option("--on-failure", type=click.Choice(["continue", "stop"]),
              help="What becomes of the rest when one fails (default: continue).")  # fmt: skip
@click.option("--parallel", type=click.IntRange(1), metavar="N", help="At most N at work at a time (default: 8).")
@waiting
def run(state: State, file: TextIO, *, waiting: ChangeCommand, **head: Any) -> None:
    r"""Make the changes that a file orders (YAML, JSON or CSV; - is standard input).

    \b
    - {operation: create_snapshot, subsystem: netapp, volume: db1, name: pre}
    - {operation: update_volume, subsystem: netapp, volume: db1, size_total: 20GiB}

    In CSV, the first line names the columns: operation, subsystem, volume, name and so on. Members may also be as
    the API takes them: method, path, body.
    """
    order = _order(file)
    order.update({name: value for name, value in head.items() if value})
    with state.client(waiting.timeout) as api:
        ask_for(state, api, waiting, order)


def ask_for(state: State, api: Client, waiting: ChangeCommand, order: dict[str, Any]) -> None:
    """Ask for a batch, and show what became of its members, also when not all succeeded."""
    from storage_api_client.errors import BatchFailed

    try:
        waiting.change(
            lambda **options: api.order(order, **options),
            lambda results: state.show(results, COLUMNS),
        )
    except BatchFailed as failed:
        state.show(failed.results, COLUMNS)
        raise


def run_for_each(
    state: State, api: Client, waiting: ChangeCommand, subsystem: str, where: tuple[str, ...], name: str, *, purge: bool
) -> None:
    """Make a snapshot of each volume that meets conditions."""
    from storage_api_client.operations.batches import EACH, for_each
    from storage_api_client.operations.volumes import create_snapshot

    change = create_snapshot(subsystem, EACH, name, purge_old_if_needed=purge)
    ask_for(state, api, waiting, for_each(subsystem, where, change))


def _order(file: TextIO) -> dict[str, Any]:
    """What a file orders; CSV is known by its name, or by its first line."""
    from storage_api_client.operations.batch_files import OrderError, from_rows, order_of

    try:
        # Spreadsheets put a byte order mark before their text.
        text = file.read().removeprefix("\ufeff")
    except UnicodeDecodeError:
        raise click.UsageError("The file is no text in UTF-8.") from None
    try:
        if delimiter := _delimiter(file.name, text):
            import csv

            return from_rows(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter))
        return order_of(_document(text))
    except OrderError as error:
        raise click.UsageError(str(error)) from None


def _delimiter(name: str, text: str) -> str | None:
    """Return what divides the cells of a table, which differs with the country of a spreadsheet; None for no table."""
    first = text.lstrip().partition("\n")[0]
    for delimiter in (",", ";", "\t"):
        if {"operation", "method"} & {cell.strip(' "\r') for cell in first.split(delimiter)}:
            return delimiter
    return "," if name.lower().endswith(".csv") else None


def _document(text: str) -> Any:
    """YAML, of which JSON is a part."""
    if text.lstrip().startswith(("{", "[")):
        try:
            return json.loads(text)
        except ValueError:
            pass  # It may be YAML in its flow style.
    import yaml

    try:
        return yaml.load(text, _yaml_loader())  # noqa: S506 - a safe one
    except yaml.YAMLError as error:
        raise click.UsageError(f"The file is no YAML: {error}") from None


def _yaml_loader() -> Any:
    """Return YAML's safe loader, but for dates, which are left as text: JSON has none."""
    import yaml

    class Loader(yaml.SafeLoader):
        yaml_implicit_resolvers = {  # noqa: RUF012 - yaml's way
            first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
            for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

    return Loader


@command(group, "show")
@ID
def show(state: State, id_: str) -> None:
    """Show the jobs of a batch, as they are."""
    with state.client() as api:
        state.note(f"Batch {id_} is {api.jobs.get(id_).state}.")
        state.show(api.jobs.list(batch=id_, all=True), JOBS)


@command(group, "wait")
@ID
@click.option("--timeout", type=click.FloatRange(0), metavar="SECONDS", help="Wait no longer (default: 300).")
def wait(state: State, id_: str, *, timeout: float | None) -> None:
    """Wait for the end of a batch, and show what became of its members."""
    from storage_api_client.cli.progress import reporting
    from storage_api_client.errors import BatchFailed

    state.jobs = [id_]
    with state.client(timeout) as api:
        try:
            with reporting(state) as reporter:
                results = api.batch_results(id_, on_progress=reporter.show)
        except BatchFailed as failed:
            state.show(failed.results, COLUMNS)
            raise
        state.show(results, COLUMNS)


@command(group, "retry")
@ID
@KEY
def retry(state: State, id_: str, *, idempotency_key: str | None) -> None:
    """Make a new batch of the members that did not succeed, and print its id."""
    with state.client() as api, retrying(state, f"batch retry {id_}", idempotency_key) as key:
        click.echo(api.jobs.retry(id_, idempotency_key=key).id)
