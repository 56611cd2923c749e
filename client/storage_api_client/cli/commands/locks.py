"""``storage-api lock …``."""

from __future__ import annotations

import click

from storage_api_client.cli.options import SUBSYSTEM, VOLUME, Group, command, waiting
from storage_api_client.cli.state import ChangeCommand, State

COLUMNS = ("host",)


@click.group("lock", cls=Group)
def group() -> None:
    """Locks: which host has a volume for itself."""


@command(group, "list", "list_locks")
@SUBSYSTEM
@VOLUME
@click.option("--fresh", is_flag=True, help="Ask the storage system, whatever is cached.")
def list_(state: State, subsystem: str, volume: str, *, fresh: bool) -> None:
    """List the hosts that hold locks on a volume."""
    with state.client() as api:
        state.show(api.subsystem(subsystem).volumes.locks(volume, fresh=fresh), COLUMNS)


@command(group, "create", "create_lock")
@SUBSYSTEM
@VOLUME
@click.argument("host")
@waiting
def create(state: State, subsystem: str, volume: str, host: str, *, waiting: ChangeCommand) -> None:
    """Give a host the lock on a volume; no other host may hold it."""
    with state.client(waiting.timeout) as api:
        volumes = api.subsystem(subsystem).volumes
        waiting.change(
            lambda **options: volumes.lock(volume, host, **options), lambda lock: state.show_made(lock, COLUMNS)
        )


@command(group, "remove", "remove_lock")
@SUBSYSTEM
@VOLUME
@click.argument("host")
@waiting
def remove(state: State, subsystem: str, volume: str, host: str, *, waiting: ChangeCommand) -> None:
    """Take the lock on a volume from a host."""
    with state.client(waiting.timeout) as api:
        volumes = api.subsystem(subsystem).volumes
        waiting.change(
            lambda **options: volumes.unlock(volume, host, **options), done=f"{host} holds no lock on {volume}."
        )
