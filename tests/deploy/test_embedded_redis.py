"""Which program is the Redis of the development server."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import MagicMock

import pytest

from deploy.dev import embedded_redis
from deploy.dev.embedded_redis import find_server, free_port


@pytest.mark.parametrize(
    ("releases", "chosen"),
    [
        ({"redis-server": "6.2.0", "valkey-server": "8.1.0"}, "redis-server"),
        ({"redis-server": "10.0.1"}, "redis-server"),
        ({"redis-server": "6.0.16", "valkey-server": "7.2.5"}, "valkey-server"),
        ({"valkey-server": "8.1.0"}, "valkey-server"),
        ({"redis-server": "6.1.9"}, ""),
        ({"redis-server": "unknown"}, ""),
        ({}, ""),
    ],
)
def test_the_machine_s_own_server_is_used_where_it_is_recent_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, releases: dict[str, str], chosen: str
) -> None:
    for name, release in releases.items():
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho "Server v={release} sha=00000000:0"\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = Path(find_server())
    assert found.is_file()
    assert (found.name if found.parent == tmp_path else "") == chosen


def test_no_port_is_chosen_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system gives a port again at once, when nothing listens there yet."""
    first = free_port()
    monkeypatch.setattr(embedded_redis, "_chosen_ports", {first})
    probe = MagicMock()
    probe.return_value.__enter__.return_value.getsockname.side_effect = [("127.0.0.1", first), ("127.0.0.1", 1)]
    monkeypatch.setattr("socket.socket", probe)
    assert free_port() == 1
