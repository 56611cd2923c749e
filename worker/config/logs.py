"""Structured logs of every process: a JSON line per event on standard error, with the ids of request and job."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import BinaryIO, Protocol, cast

import structlog

from worker.config.json_encoding import as_json


class LineFile(Protocol):
    """What a logger needs of a file."""

    def write(self, line: bytes, /) -> int:
        """Write a line; return its length."""

    def flush(self) -> None:
        """Called after each line."""


_NO_FILES: Mapping[str, LineFile] = MappingProxyType({})


def configure_logging(process: str, level: str = "INFO", files: Mapping[str, LineFile] = _NO_FILES) -> None:
    """Configure structlog and the standard library's logging to write the same form.

    Args:
        process: the name of the writer.
        level: the least level that is written.
        files: where structlog's loggers of these names write; the others write to standard error.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _name_process(process),
    ]
    # Written directly to the file: through the standard library's logging a line takes three times as long.
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer(serializer=as_json)],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        logger_factory=lambda name="": structlog.BytesLogger(
            cast("BinaryIO", files.get(name, sys.stderr.buffer)), name=name
        ),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers[:] = [_handler(shared)]
    root.setLevel(level)
    logging.captureWarnings(capture=True)
    # Celery logs every message that it receives; the outcome of a job is logged by the executor.
    for chatty in ("celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLevelName(level)))


def _handler(shared: list[structlog.typing.Processor]) -> logging.Handler:
    """Return the handler that writes the standard library's records."""
    renderer = structlog.processors.JSONRenderer(serializer=lambda event, **options: as_json(event, **options).decode())
    processors: list[structlog.typing.Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        renderer,
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=processors))
    return handler


def _name_process(process: str) -> structlog.typing.Processor:
    def add(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event["process"] = process
        return event

    return add
