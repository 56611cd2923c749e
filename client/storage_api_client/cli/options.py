"""Options that several commands have, and the classes of commands."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import cleandoc
from typing import Any, TypeVar

import click

from storage_api_client.cli.state import FORMATS, ChangeCommand, State

#: Options that the API calls otherwise.
_FILTERS = {
    "all_": "all",
    "states": "state",
    "operations": "operation",
    "since": "created_after",
    "until": "created_before",
    "finished_since": "finished_after",
    "finished_until": "finished_before",
}
F = TypeVar("F", bound=Callable[..., Any])
KEY = click.option("--idempotency-key", metavar="KEY", help="Repeated with the same key, nothing is done twice.")


def _keep(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """Note a general option, wherever it stands."""
    if value is not None:
        setattr(context.ensure_object(State), str(parameter.name), value)
    return value


def general_options() -> list[click.Option]:
    """Return the options that may stand before and after a command."""
    return [
        click.Option(["--url"], metavar="URL", help="Where the service is.", callback=_keep, expose_value=False),
        click.Option(["--profile"], metavar="NAME", help="Profile of config.toml.", callback=_keep, expose_value=False),
        click.Option(
            ["-o", "--output"],
            type=click.Choice(FORMATS),
            help="Form of what is written to standard output.",
            callback=_keep,
            expose_value=False,
        ),
    ]


class Command(click.Command):
    """A command, which takes the general options too."""

    def __init__(self, *args: Any, operations: tuple[str, ...] = (), **kwargs: Any) -> None:
        """Make a command; ``operations`` are those of the API that it carries out."""
        # Raw docstrings: Click's mark for text that is not to be wrapped is a backspace.
        kwargs["help"] = cleandoc(kwargs.get("help") or "").replace("\\b\n", "\b\n")
        super().__init__(*args, **kwargs)
        self.operations = operations
        self.params.extend(general_options())


class Group(click.Group):
    """A group of commands."""

    command_class = Command
    group_class = type


def command(group: click.Group, name: str, *operations: str) -> Callable[[Callable[..., Any]], Command]:
    """Add a command to a group; the function's first argument is the State."""

    def add(function: Callable[..., Any]) -> Command:
        @click.pass_context
        @wraps(function)
        def run(context: click.Context, /, **arguments: Any) -> Any:
            return function(context.ensure_object(State), **arguments)

        made = group.command(name, cls=Command, operations=operations)(run)
        assert isinstance(made, Command)  # noqa: S101 - made of that class
        return made

    return add


def waiting(function: F) -> F:
    """Give a command the options of a change; it is called with ``waiting``."""

    @click.option("--wait/--no-wait", default=True, help="Wait for the end (default), or print the job's id.")
    @click.option("--timeout", type=click.FloatRange(0), metavar="SECONDS", help="Wait no longer (default: 300).")
    @KEY
    @wraps(function)
    def with_options(
        state: State, *, wait: bool, timeout: float | None, idempotency_key: str | None, **arguments: Any
    ) -> Any:
        return function(state, waiting=ChangeCommand(state, wait, timeout, idempotency_key), **arguments)

    return with_options  # type: ignore[return-value]


def selecting(function: F) -> F:
    """Give a command the options of a listing."""
    for option in reversed(
        (
            click.option("--where", multiple=True, metavar="'FIELD=EXPRESSION'",
                         help="Condition, as name=db* or size_used=>1TB; several must all hold."),
            click.option("--sort", metavar="[-]FIELD,…", help="Sort by these; - for the largest first."),
            click.option("--fields", metavar="FIELD,…", help="Show these fields only."),
            click.option("--limit", type=click.IntRange(1), metavar="N", help="Show at most N."),
            click.option("--fresh", is_flag=True, help="Ask the storage system, whatever is cached."),
        )
    ):  # fmt: skip
        function = option(function)
    return function


class NotEmpty(click.ParamType):  # type: ignore[type-arg]
    """A text: an empty one, as of a variable that is not set, would choose all jobs."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text."""
        if not value:
            self.fail("it is empty: give it a value, or leave it out.", param, ctx)
        return str(value)


NOT_EMPTY = NotEmpty()


def jobs_chosen(function: F) -> F:
    """Give a command the options that choose jobs."""
    states = "queued, running, cancelling, succeeded, failed, cancelled"
    for option in reversed(
        (
            click.option("--all", "all_", is_flag=True, help="Everybody's jobs, as far as you may see them."),
            click.option("--state", "states", multiple=True, type=NOT_EMPTY, metavar="STATE",
                         help=f"{states}; several are possible."),
            click.option("--operation", "operations", multiple=True, type=NOT_EMPTY, metavar="NAME",
                         help="As create_volume; several are possible."),
            click.option("--subsystem", type=NOT_EMPTY, metavar="NAME"),
            click.option("--volume", type=NOT_EMPTY, metavar="NAME"),
            click.option("--batch", type=NOT_EMPTY, metavar="ID", help="Members of this batch."),
            click.option("--requested-by", type=NOT_EMPTY, metavar="USER", help="With --all: the jobs of this user."),
            click.option("--since", type=NOT_EMPTY, metavar="WHEN", help="Asked for since then: 2h, 3d, or a date."),
            click.option("--until", type=NOT_EMPTY, metavar="WHEN", help="Asked for before then."),
            click.option("--finished-since", type=NOT_EMPTY, metavar="WHEN", help="Ended since then."),
            click.option("--finished-until", type=NOT_EMPTY, metavar="WHEN", help="Ended before then."),
        )
    ):  # fmt: skip
        function = option(function)
    return function


def job_filter(arguments: dict[str, Any]) -> dict[str, Any]:
    """Take what chooses jobs out of a command's arguments, as the client wants it.

    Raises:
        click.UsageError: a time is none.
    """
    chosen = {_FILTERS.get(name, name): value for name, value in arguments.items() if value}
    chosen |= {name: ",".join(chosen[name]) for name in ("state", "operation") if name in chosen}
    return {name: _time(value) if name.endswith(("_after", "_before")) else value for name, value in chosen.items()}


def options_of(filters: dict[str, Any]) -> str:
    """Return the options of a filter, which choose the same whenever they are given: times in them are absolute."""
    import shlex

    options = {name: option for option, name in _FILTERS.items() if name.endswith(("_after", "_before"))}
    words: list[str] = []
    for name, value in filters.items():
        words.append(f"--{options.get(name, name).replace('_', '-')}")
        words += [] if value is True else [shlex.quote(value)]
    return " ".join(words)


def _time(text: str) -> str:
    from storage_api_client.times import parse_since

    try:
        return parse_since(text)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


class Size(click.ParamType):  # type: ignore[type-arg]
    """A size: bytes, or a text like 10GiB."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return bytes."""
        from storage_api_client.sizes import parse_size

        try:
            return parse_size(value)
        except (ValueError, TypeError) as error:
            self.fail(f"{error}.", param, ctx)


SIZE = Size()
YES = click.option("-y", "--yes", is_flag=True, help="Do not ask.")
SUBSYSTEM = click.argument("subsystem")
VOLUME = click.argument("volume")
