"""The lines of the log, against their list."""

from __future__ import annotations

from tests import log_lines

_SOURCE = """
def renew():
    if away:
        log.warning("lease.renewal-failed", error=type(exc).__name__)
    print("no line")
"""


def test_the_lines_of_the_log_are_listed() -> None:
    """After a change that is meant: ``make interface``."""
    listed = log_lines.FILE.read_text("utf-8").splitlines()
    assert len(listed) > 50
    assert log_lines.lines() == listed


def test_a_line_has_its_level_event_and_fields() -> None:
    lines = list(log_lines.of_source("lease.py", _SOURCE))
    assert lines == ['lease.py renew: log.warning("lease.renewal-failed", error=type(exc).__name__)']
