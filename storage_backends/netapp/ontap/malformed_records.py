"""Logs malformed records of a filer, each once in each process, so that listings do not flood the log."""

from __future__ import annotations

import logging

log = logging.getLogger(__name__)

#: How many are remembered; further ones are not logged.
_MAX_REPORTED = 1000
_reported: set[tuple[str, str, str]] = set()


def report_malformed_record(kind: str, name: str, reason: str) -> None:
    """Log a record that is shown without its malformed fields, or not at all; once for each record."""
    entry = (kind, name, reason)
    if entry in _reported or len(_reported) >= _MAX_REPORTED:
        return
    _reported.add(entry)
    log.warning("The storage system sent an odd %s %r: %s.", kind, name, reason)
