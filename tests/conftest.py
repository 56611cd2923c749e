"""Fixtures of all tests: a real Redis, and Hypothesis in profile `dev` (quick, default) or `ci` (thorough)."""

from __future__ import annotations

import gc
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from redis import Redis

from deploy.dev.embedded_redis import EmbeddedRedis, find_server
from tests.lifetimes import wrong_lifetimes
from worker.config.audit_log import logger as audit_logger

if TYPE_CHECKING:
    from collections.abc import Iterator

# A loaded machine is no reason to fail: no deadline, and no health check for slow examples.
settings.register_profile("dev", max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("dev")


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    """A real server of this test session alone, with its append-only file in a temporary folder."""
    server = EmbeddedRedis.in_folder(find_server(), tmp_path_factory.mktemp("redis"))
    process = server.start()
    try:
        server.await_ready(timeout_s=20)
        with Redis.from_url(server.url) as client:
            # What survives a kill is tested with separate servers; here no test has to wait for the disk.
            client.config_set("appendfsync", "no")
        yield server
    finally:
        # A server that rewrites its append-only file ignores SIGTERM; nothing of what it holds is needed.
        process.kill()
        process.wait(timeout=20)


@pytest.fixture(scope="session")
def redis_url(redis_server: EmbeddedRedis) -> str:
    """The address of the test session's Redis, password included."""
    return redis_server.url


@pytest.fixture
def redis_client(redis_url: str) -> Iterator[Redis]:
    """A client of the test session's Redis, which is empty when the test begins.

    What a test has left there must end by itself, as far as it should.
    """
    client = Redis.from_url(redis_url)
    began_s = time.monotonic()
    client.flushall()
    yield client
    assert wrong_lifetimes(client, began_s) == {}
    client.close()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the slowest tests, so that no process is busy alone at the end.

    The tests of a file run in one process, and so do all that share a service, which is then started only once.
    """
    items.sort(key=_place)
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item)))


#: Fixtures that start a whole service for the session.
_SERVICES = {"tests/e2e/": "service", "client/": "stack"}


def _group(item: pytest.Item) -> str:
    for folder, fixture in _SERVICES.items():
        if item.nodeid.startswith(folder) and fixture in getattr(item, "fixturenames", ()):
            return folder + fixture
    return item.nodeid.partition("::")[0]


#: What takes longest comes first.
_FIRST = ("tests/e2e/", "tests/docs/", "tests/hosts/", "client/", "tests/deploy/", "tests/worker/", "tests/api/")


def _place(item: pytest.Item) -> int:
    places = [place for place, folder in enumerate(_FIRST) if item.nodeid.startswith(folder)]
    return (places or [len(_FIRST)])[0]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Report which tests were skipped, and what they need."""
    skipped = terminalreporter.getreports("skipped")
    reasons = Counter(str(report.longrepr[2]).removeprefix("Skipped: ") for report in skipped if report.longrepr)
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"left out: {count} tests ({reason})", yellow=True)


def pytest_unconfigure() -> None:
    """Let nothing be written to the audit log at exit: what pytest gave it as standard output is closed by then."""
    for handler in audit_logger.handlers:
        handler.close()
    audit_logger.handlers.clear()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Leave what was imported and collected out of garbage collections: each would visit all of it again.

    Raises:
        pytest.UsageError: the tests are not distributed by their groups. Then each process would start each service.
    """
    is_grouped = session.config.getoption("loadgroup", default=False)
    if is_grouped and not all("@" in item.nodeid for item in session.items):
        raise pytest.UsageError("pytest-xdist groups no tests: this version of pytest does not go with it")
    gc.collect()
    gc.freeze()
