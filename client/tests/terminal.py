"""A pseudo-terminal for a command: its output, and typed input."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time

from conftest import PROGRAM, CommandLine

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_LIMIT_S = 30


class Terminal:
    """A command at a terminal of so many columns; with ``out`` its standard output goes elsewhere."""

    def __init__(self, cli: CommandLine, *words: str, columns: int = 80, environment: dict[str, str] | None = None):
        self._end, command_end = pty.openpty()
        fcntl.ioctl(command_end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        variables = {name: value for name, value in cli.whole_environment().items() if name != "COLUMNS"}
        self._process = subprocess.Popen(
            [PROGRAM, *words],
            cwd=cli.home,
            env={**variables, "TERM": "xterm-256color", **(environment or {})},
            stdin=command_end,
            stdout=command_end,
            stderr=command_end,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - there are no locks in it
        )
        os.close(command_end)
        self.raw = ""

    @property
    def text(self) -> str:
        """The output, without colours and cursor movements."""
        return _ESCAPES.sub("", self.raw).replace("\r\n", "\n")

    def wait_for(self, text: str) -> None:
        """Return when this text is in the output."""
        until = time.monotonic() + _LIMIT_S
        while text not in self.text:
            assert time.monotonic() < until, self.text
            assert self._read(), self.text

    def type(self, text: str) -> None:
        """Type something."""
        os.write(self._end, text.encode())

    def interrupt(self) -> None:
        """Press Ctrl-C, and again when it was too early: Python misses a signal just before it begins to read."""
        while self._process.poll() is None:
            self.type("\x03")
            while select.select([self._end], [], [], 5)[0] and self._read():
                pass

    def ended(self) -> int:
        """Read on to the end; the exit status."""
        while self._read():
            pass
        os.close(self._end)
        return self._process.wait(_LIMIT_S)

    def _read(self) -> bool:
        if not select.select([self._end], [], [], _LIMIT_S)[0]:
            return False
        try:
            data = os.read(self._end, 65536)
        except OSError:  # Linux raises this when the other end is closed.
            return False
        self.raw += data.decode()
        return bool(data)
