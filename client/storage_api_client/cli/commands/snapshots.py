"""``storage-api snapshot …``."""

from __future__ import annotations

from typing import Any

import click

from storage_api_client.cli.options import SUBSYSTEM, VOLUME, YES, Group, command, selecting, waiting
from storage_api_client.cli.state import ChangeCommand, State

COLUMNS = ("name", "creation_time", "size_kbytes")


@click.group("snapshot", cls=Group)
def group() -> None:
    """Snapshots of a volume, or of many at once."""


@command(group, "list", "list_snapshots")
@SUBSYSTEM
@VOLUME
@selecting
def list_(state: State, subsystem: str, volume: str, *, fields: str | None, **query: Any) -> None:
    """List a volume's snapshots."""
    with state.client() as api:
        rows = api.subsystem(subsystem).volumes.snapshots(volume, fields=fields, **query)
        state.show(rows, fields.split(",") if fields else COLUMNS)


@command(group, "show", "get_snapshot")
@SUBSYSTEM
@VOLUME
@click.argument("name")
@click.option("--fresh", is_flag=True, help="Ask the storage system, whatever is cached.")
def show(state: State, subsystem: str, volume: str, name: str, *, fresh: bool) -> None:
    """Show a snapshot."""
    with state.client() as api:
        snapshot = api.subsystem(subsystem).volumes.get_snapshot(volume, name, fresh=fresh)
        state.show([snapshot], COLUMNS, single=True)


@command(group, "create", "create_snapshot")
@SUBSYSTEM
@click.argument("names", nargs=-1, required=True, metavar="[VOLUME] NAME")
@click.option("--where", multiple=True, metavar="'FIELD=EXPRESSION'",
              help="In the place of VOLUME: a snapshot of each volume that meets this, as name=db*.")  # fmt: skip
@click.option("--purge-old-if-needed", is_flag=True, help="Where the limit is reached, the oldest one goes first.")
@waiting
def create(
    state: State,
    subsystem: str,
    names: tuple[str, ...],
    *,
    where: tuple[str, ...],
    purge_old_if_needed: bool,
    waiting: ChangeCommand,
) -> None:
    r"""Make a snapshot of a volume, or of each volume that meets a condition.

    \b
    storage-api snapshot create netapp db1 before-upgrade
    storage-api snapshot create netapp --where 'name=db*' before-upgrade
    """
    if len(names) != (1 if where else 2):
        raise click.UsageError("Name a volume and a snapshot, or with --where a snapshot only.")
    with state.client(waiting.timeout) as api:
        if where:
            from storage_api_client.cli.commands.batches import run_for_each

            run_for_each(state, api, waiting, subsystem, where, names[0], purge=purge_old_if_needed)
            return
        volumes = api.subsystem(subsystem).volumes
        waiting.change(
            lambda **options: volumes.snapshot(*names, purge_old_if_needed=purge_old_if_needed, **options),
            lambda snapshot: state.show_made(snapshot, COLUMNS),
        )


@command(group, "delete", "delete_snapshot")
@SUBSYSTEM
@VOLUME
@click.argument("name")
@YES
@waiting
def delete(state: State, subsystem: str, volume: str, name: str, *, yes: bool, waiting: ChangeCommand) -> None:
    """Delete a snapshot."""
    state.confirm(f"Snapshot {name} of {volume} cannot be brought back. Delete it?", yes=yes)
    with state.client(waiting.timeout) as api:
        volumes = api.subsystem(subsystem).volumes
        waiting.change(
            lambda **options: volumes.delete_snapshot(volume, name, **options), done=f"Snapshot {name} is gone."
        )
