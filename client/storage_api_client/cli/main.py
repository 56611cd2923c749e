"""The entry point of ``storage-api``, which an interrupt ends in one way at any time."""

from __future__ import annotations

import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: `ExitStatus.INTERRUPTED`, before anything of ours is imported.
_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, and exit."""
    status = _INTERRUPTED
    try:
        with _interrupted_by_sigterm():
            # Imported here, so that an interrupt of these imports, too, ends the command without a traceback.
            from storage_api_client.cli.program import run

            status = int(run(arguments))
    except KeyboardInterrupt:
        status = _INTERRUPTED
    sys.exit(status)


@contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """Have SIGTERM do what Ctrl-C does: the job goes on, and its id is printed."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
