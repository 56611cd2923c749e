"""A plugin for pytest that notes of each test that passes which lines it executes (Lua, too) and how long it takes."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from coverage import Coverage
from redis import Redis, RedisError

from tests.mutants.lua_lines import CHANNEL

#: Where the seconds of each test and its lines of Lua are written, as JSON.
NOTES_VARIABLE = "MUTANTS_NOTES"
_END = "end of the test"
_seconds: dict[str, float] = {}
_lua: dict[str, list[str]] = {}
_not_passed: set[str] = set()
_listening: list[_Listener] = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    measured = Coverage.current()
    assert measured is not None
    measured.switch_context(item.nodeid)
    began = time.perf_counter()
    try:
        return (yield)
    finally:
        _seconds[item.nodeid] = time.perf_counter() - began
        measured.switch_context("")
        _lua[item.nodeid] = sorted({line for listener in _listening for line in listener.lines()})


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if not report.passed:
        _not_passed.add(report.nodeid)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef) -> Generator[None, Any, Any]:
    """Listen to the lines that scripts tell on the Redis of the tests."""
    value = yield
    if fixturedef.argname == "redis_server":
        client = Redis.from_url(value.url, decode_responses=True)
        client.config_set("client-output-buffer-limit", "pubsub 0 0 0")
        _listening.append(_Listener(client))
    return value


class _Listener:
    """Receives which lines of scripts run."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._listen()

    def _listen(self) -> None:
        self._heard = self._client.pubsub()
        self._heard.psubscribe(f"*{CHANNEL}")

    def lines(self) -> set[str]:
        """What was received since the last call; nothing where a test has closed all connections."""
        lines: set[str] = set()
        try:
            self._client.publish(CHANNEL, _END)
            while (message := self._heard.get_message(timeout=10)) is not None and message["data"] != _END:
                if message["type"] == "pmessage":
                    lines.add(message["data"])
        except RedisError:
            self._listen()
        return lines


def pytest_sessionfinish() -> None:
    seconds = {test: each for test, each in _seconds.items() if test not in _not_passed}
    Path(os.environ[NOTES_VARIABLE]).write_text(json.dumps({"seconds": seconds, "lua": _lua}))
