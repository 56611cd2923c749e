"""Completion for shells, made by Click."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from storage_api_client.cli.names import PROGRAM, VARIABLE


def script(main: click.Command, shell: str) -> str:
    """Return the script that teaches a shell to complete our command line."""
    kind = get_completion_class(shell)
    assert kind is not None, shell  # noqa: S101 - Click has these shells
    return kind(main, {}, PROGRAM, VARIABLE).source().strip()
