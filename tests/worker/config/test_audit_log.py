"""Many requests do not displace important lines from the audit log."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Any

import pytest
import structlog

from worker.config.audit_log import AuditLog, logger, open_log


class Log:
    """An audit log whose clock is controlled by the test."""

    def __init__(self, path: Path, rate: int) -> None:
        self.now_s = 1000.0
        self._path = path
        self.log = AuditLog(rate, clock=lambda: self.now_s)

    def write(self, times: int = 1, **event: Any) -> None:
        for _ in range(times):
            self.log.write({"event": "access", "method": "GET", "address": "192.0.2.1"} | event)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._path.read_text().splitlines()]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    path = tmp_path / "audit.log"
    before = logger.handlers[:]
    logger.handlers[:] = []
    open_log(str(path))
    yield Log(path, rate=20)
    for handler in logger.handlers:
        handler.close()
    logger.handlers[:] = before


REFUSED: dict[str, Any] = {"allowed": False, "reason": "unauthenticated"}


def test_anonymous_lines_are_limited_and_the_others_counted(log: Log):
    log.write(100, **REFUSED)
    assert len(log.lines()) == 2
    log.now_s += 59.9
    log.write(**REFUSED)
    assert len(log.lines()) == 2
    log.now_s += 0.1
    log.write(**REFUSED)
    assert [line for line in log.lines() if line["event"] == "left-out"] == [
        {"time": log.lines()[2]["time"], "event": "left-out", "source": "192.0.2.1/32", "count": 99}
    ]
    assert re.fullmatch(r"[-0-9]{10}T[0-9:]{8}\.[0-9]{3}\+00:00", log.lines()[2]["time"])
    assert len(log.lines()) == 4


@pytest.mark.parametrize("reason", ["unauthenticated", "rate-limited", "sign-in-unavailable"])
def test_a_claimed_user_name_is_no_separate_source(log: Log, reason: str):
    for number in range(50):
        log.write(who=f"user{number}", auth_method="basic", allowed=False, reason=reason)
    assert len(log.lines()) == 2


def test_users_and_anonymous_clients_have_separate_limits(log: Log):
    log.write(100, **REFUSED)
    log.write(15, who="ann", auth_method="session", allowed=True)
    assert len([line for line in log.lines() if line.get("who") == "ann"]) == 15


def test_networks_share_the_limit_of_anonymous_clients(log: Log):
    for number in range(200):
        log.write(address=f"198.51.{number}.1", **REFUSED)
    assert len(log.lines()) == 20
    log.log.flush()
    left_out = [line for line in log.lines() if line["event"] == "left-out"]
    assert sum(line["count"] for line in left_out) == 180
    # They are reported once.
    log.log.flush()
    assert len(log.lines()) == 20 + len(left_out)


def test_of_many_networks_a_hundred_are_named(log: Log):
    busy = AuditLog(10)
    for number in (*range(150), *range(150), *range(150)):
        busy.write({"event": "access", "address": f"198.51.{number}.1"} | REFUSED)
    busy.flush()
    left_out = [line for line in log.lines() if line["event"] == "left-out"]
    assert (len(left_out), sum(line["count"] for line in left_out)) == (100, 440)
    # What is named has its whole count.
    assert {line["count"] for line in left_out if line["source"] != "strangers"} == {2}


def test_changes_and_sign_ins_are_always_written(log: Log):
    log.write(50, who="ann", auth_method="session", allowed=True)
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        log.write(30, who="ann", auth_method="session", allowed=True, method=method, job_id="1")
    log.write(30, who="ann", auth_method="session", allowed=True, event="sign-in")
    assert len([line for line in log.lines() if line.get("job_id")]) == 4 * 30
    assert len([line for line in log.lines() if line["event"] == "sign-in"]) == 30


def test_the_length_of_fields_is_limited(log: Log):
    log.write(target="x" * 100_000, **REFUSED)
    assert len(log.lines()[0]["target"]) == 512


def test_a_line_is_ascii_whatever_a_client_sends(log: Log, tmp_path: Path):
    """No viewer takes a part of it for another line, and it can be written in any encoding."""
    log.write(target="ä\u2028\udce4\x1b", **REFUSED)
    assert (tmp_path / "audit.log").read_bytes().isascii()
    assert log.lines()[0]["target"] == "ä\u2028\udce4\x1b"


def test_a_file_that_was_moved_is_opened_again(log: Log, tmp_path: Path):
    log.write(**REFUSED)
    (tmp_path / "audit.log").rename(tmp_path / "audit.log.1")
    log.write(**REFUSED)
    assert len(log.lines()) == 1
    assert not logger.propagate


def test_a_file_that_is_opened_in_its_place_closes_it(log: Log, tmp_path: Path):
    (before,) = [handler for handler in logger.handlers if isinstance(handler, WatchedFileHandler)]
    open_log(str(tmp_path / "other.log"))
    assert before not in logger.handlers
    assert before.stream is None


def test_a_low_rate_leaves_each_network_a_line(log: Log):
    AuditLog(3).write({"event": "access", "address": "192.0.2.1"} | REFUSED)
    assert len(log.lines()) == 1


def test_the_limit_can_be_switched_off(log: Log):
    unlimited = AuditLog(0)
    for _ in range(100):
        unlimited.write({"event": "access"} | REFUSED)
    assert len(log.lines()) == 100


def test_refused_sign_ins_and_reads_of_every_method_are_limited(log: Log):
    log.write(30, event="sign-in", allowed=False, reason="unauthenticated")
    assert len(log.lines()) == 2
    for method in ("HEAD", "OPTIONS", "GET"):
        log.write(10, method=method, allowed=True, who="ann", auth_method="basic")
    assert len(log.lines()) == 2 + 20


def test_a_file_that_cannot_be_written_for_a_while_fails_no_request(log: Log, tmp_path: Path):
    """What should be in it is in the process's own log; the file is written again when it can be."""
    away = tmp_path.rename(tmp_path.with_name("moved"))
    with structlog.testing.capture_logs() as logged:
        for who in ("ann", "bob"):
            log.write(who=who, allowed=True, method="POST")
    assert [(line["event"], line["error"]) for line in logged] == [("audit.not-written", "FileNotFoundError")] * 2
    assert [json.loads(line["line"])["who"] for line in logged] == ["ann", "bob"]
    away.rename(tmp_path)
    log.write(who="eve", allowed=True, method="POST")
    assert log.lines()[-1]["who"] == "eve"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is not here")
def test_a_full_disk_fails_no_request_either(log: Log):
    with structlog.testing.capture_logs() as logged:
        for handler in logger.handlers:
            handler.close()
        open_log("/dev/full")
        log.write(who="ann", allowed=True, method="POST")
    for handler in logger.handlers:
        with suppress(OSError):
            handler.close()
    logger.handlers.clear()
    assert [(line["event"], json.loads(line["line"])["who"]) for line in logged] == [("audit.not-written", "ann")]
