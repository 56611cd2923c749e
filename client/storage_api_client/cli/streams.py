"""Standard streams, which may be closed, have no reader any more, or an encoding that lacks characters."""

from __future__ import annotations

import codecs
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

import click


def prepare_streams() -> None:
    """Open streams that are closed, and have the output replace characters that the encoding of the output lacks."""
    # In the order of their numbers: the system gives the lowest one that is free.
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - open until the end
    if not is_unicode(sys.stdout) and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")


def is_unicode(stream: TextIO) -> bool:
    """Is the encoding of a stream one of Unicode? A stream without one is text in memory."""
    encoding = getattr(stream, "encoding", None)
    return encoding is None or codecs.lookup(encoding).name.startswith("utf")


def say(line: Any) -> None:
    """Print a line on standard error, unless nobody reads it or its disk is full: a command goes on without that."""
    try:
        click.echo(line, err=True)
    except OSError:
        discard(sys.stderr)


def discard(stream: TextIO) -> None:
    """Discard what is written to a stream from now on, and what the interpreter would write to it at its end."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
