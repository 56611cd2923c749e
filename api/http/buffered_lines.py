"""A file whose lines are written together, some milliseconds later, by a thread of its own.

Each write to a file releases the interpreter's lock, for which the thread then waits behind the others: with a line of
log for each, cached responses have a rate that is a twentieth lower.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import suppress
from typing import BinaryIO

from api.http.shutdown import at_end

#: How long a line may wait (seconds). A process that is killed loses those that do.
DELAY_S = 0.02
#: So many lines may wait; then whoever adds one writes them, at the speed of the file.
_MAX_WAITING = 4096


class BufferedLines:
    """The file, for loggers that write one line and flush."""

    def __init__(self, file: BinaryIO, delay_s: float = DELAY_S) -> None:
        """Write to ``file`` at most ``delay_s`` seconds after each flush, and when the process ends."""
        self._file = file
        self._delay_s = delay_s
        self._lines: deque[bytes] = deque()
        self._writing = threading.Lock()
        self._is_due = threading.Event()
        threading.Thread(target=self._write_when_due, name="log lines", daemon=True).start()
        at_end(self.write_waiting)

    def write(self, line: bytes) -> int:
        """Add a line to those that wait; return its length."""
        self._lines.append(line)
        return len(line)

    def flush(self) -> None:
        """Have the waiting lines written soon, without waiting for it."""
        if len(self._lines) >= _MAX_WAITING:
            self.write_waiting()
        elif not self._is_due.is_set():
            self._is_due.set()

    def write_waiting(self) -> None:
        """Write the waiting lines now; those that cannot be written (a full disk) are lost, and fail no request."""
        with self._writing, suppress(OSError):
            lines = [self._lines.popleft() for _ in range(len(self._lines))]
            if lines:
                self._file.write(b"".join(lines))
                self._file.flush()

    def _write_when_due(self) -> None:
        while self._is_due.wait():
            time.sleep(self._delay_s)
            # Cleared first, so that a line that comes meanwhile is written now or makes it due again.
            self._is_due.clear()
            self.write_waiting()
