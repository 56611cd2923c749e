"""Which program is the Redis of the development server."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.dev.embedded_redis import find_server


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
