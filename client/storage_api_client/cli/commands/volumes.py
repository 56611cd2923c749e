"""``storage-api volume …``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from storage_api_client.cli.options import SIZE, SUBSYSTEM, VOLUME, YES, Group, command, selecting, waiting
from storage_api_client.cli.state import ChangeCommand, State

COLUMNS = ("name", "state", "size_total", "size_used", "aggregate_name", "junction_path", "active_policy_name")


@click.group("volume", cls=Group)
def group() -> None:
    """Volumes: list, create, change, clone, roll back, take out of service."""


def _settings(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that set what may be chosen at creation and changed later."""
    text: list[tuple[str, str, str]] = [
        ("--policy", "active_policy_name", "Export policy."),
        ("--caching-policy", "caching_policy", "Caching policy."),
        ("--snapshot-policy", "snapshot_policy", "Snapshot policy."),
        ("--unix-permissions", "unix_permissions", "Octal, as 0755."),
        ("--qos-policy", "qos_policy", "QoS policy."),
        ("--comment", "comment", "For people."),
    ]
    options = [
        click.option("--size", "size_total", type=SIZE, metavar="SIZE", help="What its clients can use, as 10GiB."),
        *(click.option(flag, name, help=help_) for flag, name, help_ in text),
        click.option("--autosize/--no-autosize", "autosize_enabled", default=None, help="Grow by itself when full."),
        click.option("--max-autosize", type=SIZE, metavar="SIZE", help="How far it may grow by itself."),
        click.option("--snapshot-reserve", "percentage_snapshot_reserve", type=click.IntRange(0, 100),
                     metavar="PERCENT", help="Share that is set aside for snapshots."),
        click.option("--compression/--no-compression", "compression_enabled", default=None),
        click.option("--inline-compression/--no-inline-compression", "inline_compression", default=None),
        click.option("--security-style", type=click.Choice(["unix", "ntfs", "mixed"])),
        click.option("--space-guarantee", type=click.Choice(["none", "volume"])),
        click.option("--tiering-policy", type=click.Choice(["none", "snapshot-only", "auto", "all"])),
    ]  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


@command(group, "list", "list_volumes", "list_restricted_volumes")
@SUBSYSTEM
@selecting
@click.option("--restricted", is_flag=True, help="Those that were taken out of service.")
def list_(state: State, subsystem: str, *, restricted: bool, fresh: bool, fields: str | None, **query: Any) -> None:
    """List volumes."""
    with state.client() as api:
        volumes = api.subsystem(subsystem).volumes
        query["fields"] = fields
        rows = volumes.restricted(**query) if restricted else volumes.list(fresh=fresh, **query)
        state.show(rows, fields.split(",") if fields else COLUMNS)


@command(group, "show", "get_volume")
@SUBSYSTEM
@VOLUME
@click.option("--fresh", is_flag=True, help="Ask the storage system, whatever is cached.")
def show(state: State, subsystem: str, volume: str, *, fresh: bool) -> None:
    """Show a volume, by its name or by node:/junction/path."""
    with state.client() as api:
        state.show([api.subsystem(subsystem).volumes.get(volume, fresh=fresh)], COLUMNS, single=True)


def _show_volume(state: State) -> Callable[[Any], None]:
    return lambda volume: state.show_made(volume, COLUMNS)


@command(group, "create", "create_volume")
@SUBSYSTEM
@VOLUME
@_settings
@click.option("--junction-path", metavar="PATH", help="Where it is mounted (default: /VOLUME).")
@click.option("--aggregate", "aggregate_name", help="Where its data lies (default: where there is most space).")
@click.option("--name", help="Its name, where VOLUME is node:/junction/path.")
@waiting
def create(state: State, subsystem: str, volume: str, *, waiting: ChangeCommand, **settings: Any) -> None:
    r"""Create a volume.

    \b
    storage-api volume create netapp db1 --size 10GiB
    """
    with state.client(waiting.timeout) as api:
        volumes = api.subsystem(subsystem).volumes
        waiting.change(lambda **options: volumes.create(volume, **settings, **options), _show_volume(state))


@command(group, "update", "update_volume")
@SUBSYSTEM
@VOLUME
@_settings
@waiting
def update(state: State, subsystem: str, volume: str, *, waiting: ChangeCommand, **settings: Any) -> None:
    """Change the settings of a volume."""
    if all(value is None for value in settings.values()):
        raise click.UsageError("Name at least one setting to change, as --size 20GiB.")
    with state.client(waiting.timeout) as api:
        volumes = api.subsystem(subsystem).volumes
        waiting.change(lambda **options: volumes.update(volume, **settings, **options), _show_volume(state))


@command(group, "clone", "clone_volume")
@SUBSYSTEM
@VOLUME
@click.option("--from", "origin", required=True, metavar="VOLUME@SNAPSHOT", help="What to copy.")
@click.option("--junction-path", metavar="PATH", help="Where it is mounted (default: /VOLUME).")
@click.option("--policy", "active_policy_name", help="Export policy (default: the origin's).")
@click.option("--size", "size_total", type=SIZE, metavar="SIZE", help="What its clients can use (default: as there).")
@click.option("--name", help="Its name, where VOLUME is node:/junction/path.")
@waiting
def clone(state: State, subsystem: str, volume: str, *, origin: str, waiting: ChangeCommand, **settings: Any) -> None:
    """Create a volume as an independent copy of a snapshot."""
    from_volume, at, from_snapshot = origin.partition("@")
    if not (from_volume and at and from_snapshot):
        raise click.UsageError("Write --from VOLUME@SNAPSHOT, as in --from db1@before-upgrade.")
    with state.client(waiting.timeout) as api:
        volumes = api.subsystem(subsystem).volumes
        waiting.change(
            lambda **options: volumes.clone(volume, from_volume, from_snapshot, **settings, **options),
            _show_volume(state),
        )


@command(group, "rollback", "roll_back_volume")
@SUBSYSTEM
@VOLUME
@click.option("--to", "snapshot", required=True, metavar="SNAPSHOT", help="The snapshot to go back to.")
@YES
@waiting
def rollback(state: State, subsystem: str, volume: str, *, snapshot: str, yes: bool, waiting: ChangeCommand) -> None:
    """Make a volume what it was when a snapshot was made.

    Whatever was written since then is lost, and later snapshots go; both are named, and you are asked.
    """
    with state.client(waiting.timeout) as api:
        volumes = api.subsystem(subsystem).volumes
        if not yes:
            state.confirm(_rollback_question(volumes, volume, snapshot), yes=False)
        waiting.change(lambda **options: volumes.roll_back(volume, snapshot, **options), _show_volume(state))


def _rollback_question(volumes: Any, volume: str, name: str) -> str:
    """What a roll-back takes away, and whether that is wanted."""
    from storage_api_client.cli.output import for_people

    target = volumes.get_snapshot(volume, name)
    when = for_people("creation_time", target.raw.get("creation_time")) or "that snapshot"
    later = [
        snapshot.name
        for snapshot in volumes.snapshots(volume, fresh=True)
        if target.creation_time and snapshot.creation_time and snapshot.creation_time > target.creation_time
    ]
    count = "1 later snapshot goes" if len(later) == 1 else f"{len(later)} later snapshots go"
    loses = f"{count}: {', '.join(later)}." if later else "No later snapshot goes."
    return f"What was written to {volume} since {when} will be lost. {loses} Roll back to {name}?"


@command(group, "restrict", "restrict_volume")
@SUBSYSTEM
@VOLUME
@YES
@waiting
def restrict(state: State, subsystem: str, volume: str, *, yes: bool, waiting: ChangeCommand) -> None:
    """Take a volume out of service: unmounted and offline; its data stays."""
    state.confirm(f"{volume} will be unmounted and offline: its clients lose it at once. Restrict it?", yes=yes)
    with state.client(waiting.timeout) as api:
        volumes = api.subsystem(subsystem).volumes
        back = f"{volume} is out of service; bring it back: storage-api volume reinstate {subsystem} {volume}"
        waiting.change(lambda **options: volumes.restrict(volume, **options), done=back)


@command(group, "reinstate", "reinstate_volume")
@SUBSYSTEM
@VOLUME
@click.option("--junction-path", metavar="PATH", help="Where it is mounted (default: /VOLUME).")
@waiting
def reinstate(state: State, subsystem: str, volume: str, *, junction_path: str | None, waiting: ChangeCommand) -> None:
    """Bring a restricted volume back: online, and mounted again."""
    with state.client(waiting.timeout) as api:
        volumes = api.subsystem(subsystem).volumes
        waiting.change(lambda **options: volumes.reinstate(volume, junction_path, **options), _show_volume(state))
