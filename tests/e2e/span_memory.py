"""The SDK's in-memory exporter inside the processes of a test, which reads its spans over loopback.

Processes find it as they find any exporter, by an entry point: `install` makes one in a folder of the test's own.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

_FOLDER = "SPAN_MEMORY_FOLDER"
_ENTRY_POINTS = f"[opentelemetry_traces_exporter]\nmemory = {__name__}:SpanMemory\n"


class SpanMemory(InMemorySpanExporter):
    """Sends its spans to every client that connects."""

    def __init__(self) -> None:
        super().__init__()
        self._server = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, name="span-memory", daemon=True).start()
        folder = Path(os.environ[_FOLDER])
        written = folder / f"{os.getpid()}.new"
        written.write_text(str(self._server.getsockname()[1]))
        written.rename(folder / f"{os.getpid()}.port")

    def _serve(self) -> None:
        while True:
            connection, _ = self._server.accept()
            with connection, suppress(OSError):
                spans = [span.to_json(indent=None) for span in self.get_finished_spans()]
                connection.sendall(f"[{','.join(spans)}]".encode())


def install(folder: Path) -> dict[str, str]:
    """Return the environment of processes that keep their spans in memory; ``folder`` says where to read them."""
    described = folder / "span_memory-1.dist-info"
    described.mkdir(parents=True)
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: span-memory\nVersion: 1\n")
    (described / "entry_points.txt").write_text(_ENTRY_POINTS)
    return {
        "PYTHONPATH": str(folder),
        _FOLDER: str(folder),
        "OTEL_TRACES_EXPORTER": "memory",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }


def read_spans(folder: Path, trace_id: str) -> Iterator[dict[str, Any]]:
    """The spans of a trace that have ended in the processes that are alive."""
    for file in folder.glob("*.port"):
        with suppress(OSError):
            for span in _read(int(file.read_text())):
                if span["context"]["trace_id"] == f"0x{trace_id}":
                    yield span


def _read(port: int) -> list[dict[str, Any]]:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection, connection.makefile("rb") as sent:
        spans: list[dict[str, Any]] = json.load(sent)
        return spans
