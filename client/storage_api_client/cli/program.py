"""The command line: ``storage-api``."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import shell_complete

from storage_api_client.cli.commands import (
    batches,
    events,
    exports,
    jobs,
    locks,
    service,
    signing_in,
    snapshots,
    volumes,
)
from storage_api_client.cli.exit_status import ExitStatus
from storage_api_client.cli.names import PROGRAM, VARIABLE
from storage_api_client.cli.options import Group, general_options
from storage_api_client.cli.state import State, Stop
from storage_api_client.cli.streams import discard, prepare_streams, say
from storage_api_client.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Sequence


def command_line() -> Group:
    """Return the whole command line."""
    main_group = Group(
        PROGRAM,
        params=[*general_options(), _version()],
        help=_HELP,
        context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": None, "max_content_width": 100},
    )
    signing_in.add_to(main_group)
    for module in (volumes, snapshots, locks, exports, jobs, batches):
        main_group.add_command(module.group)
    events.add_to(main_group)
    service.add_to(main_group)
    return main_group


_HELP = """Volumes, snapshots, locks and export policies on storage systems.

Each change is a job; commands wait for its end, or with --no-wait print its id.

\b
  storage-api login
  storage-api subsystem list
  storage-api volume create netapp db1 --size 10GiB
  storage-api snapshot create netapp db1 before-upgrade
  storage-api volume rollback netapp db1 --to before-upgrade

Exit status: 0 done, 1 failed or refused, 2 usage, 3 outcome unknown, 4 not signed in or role missing, 5 not found,
75 service or storage system unavailable, 124 still running when the time was over, 130 interrupted.
"""


def _version() -> click.Option:
    def show(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        if value and not context.resilient_parsing:
            click.echo(f"{PROGRAM} {VERSION}")
            context.exit()

    return click.Option(
        ["--version"], is_flag=True, expose_value=False, is_eager=True, callback=show, help="Show the version."
    )


def run(arguments: Sequence[str] | None = None) -> ExitStatus:
    """Run the command line, and return its exit status."""
    prepare_streams()
    state = State(output=_output())
    try:
        return _run(arguments, state)
    except KeyboardInterrupt:
        return _interrupted(state)
    except BrokenPipeError as broken:
        # Whoever read our output has had enough.
        discard(sys.stdout)
        return _status_without_readers(broken)


def _status_without_readers(broken: BrokenPipeError) -> ExitStatus:
    """Return the status of what went wrong before nobody read its results; it is done where nothing did."""
    before = broken.__context__
    if isinstance(before, Stop):
        return before.status
    return _failed(before) if isinstance(before, Exception) else ExitStatus.DONE


def _output() -> str | None:
    from storage_api_client.cli.state import FORMATS

    chosen = os.environ.get("STORAGE_API_OUTPUT") or None
    if chosen is not None and chosen not in FORMATS:
        say(f"storage-api: STORAGE_API_OUTPUT must be one of {', '.join(FORMATS)}.")
        sys.exit(ExitStatus.USAGE)
    return chosen


def _run(arguments: Sequence[str] | None, state: State) -> ExitStatus:
    """Run it; errors are said in words, never with a traceback."""
    program = command_line()
    if instruction := os.environ.get(VARIABLE):
        return ExitStatus(shell_complete(program, {}, PROGRAM, VARIABLE, instruction))
    try:
        words = list(sys.argv[1:] if arguments is None else arguments)
        with program.make_context(PROGRAM, words, obj=state) as context:
            program.invoke(context)
        sys.stdout.flush()
    except (click.ClickException, click.exceptions.Exit) as end:
        if isinstance(end, click.ClickException):
            _show(end)
        return ExitStatus(end.exit_code)
    except click.Abort:
        raise KeyboardInterrupt from None
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - what we do not know is said, too
        return error.status if isinstance(error, Stop) else _failed(error)
    return ExitStatus.DONE


def _show(usage: click.ClickException) -> None:
    try:
        usage.show()
    except OSError:
        discard(sys.stderr)


def _failed(error: Exception) -> ExitStatus:
    from storage_api_client.cli.failures import explain, print_error
    from storage_api_client.configuration.files import ConfigurationError
    from storage_api_client.errors import StorageApiError
    from storage_api_client.protocol.messages import ConnectionLost

    if isinstance(error, StorageApiError):
        return explain(error)
    if isinstance(error, ConnectionLost):
        print_error(f"{error.detail}.")
        return ExitStatus.UNAVAILABLE
    if isinstance(error, ConfigurationError | ValueError):
        print_error(str(error))
        return ExitStatus.USAGE
    if isinstance(error, OSError):
        print_error(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}")
        return ExitStatus.FAILED
    if os.environ.get("STORAGE_API_DEBUG"):
        raise error
    print_error(f"a mistake of this program ({type(error).__name__}: {error}); STORAGE_API_DEBUG=1 shows where.")
    return ExitStatus.FAILED


def _interrupted(state: State) -> ExitStatus:
    """Cancel nothing, and say how to go on."""
    if state.jobs:
        say(f"\nInterrupted; the job goes on. Wait for it: {PROGRAM} job wait {' '.join(state.jobs)}")
    elif state.key:
        say(
            f"\nInterrupted; the change may have been accepted. Go on with {state.command} --idempotency-key "
            f"{state.key}: nothing is done twice."
        )
    else:
        say("\nInterrupted.")
    return ExitStatus.INTERRUPTED
