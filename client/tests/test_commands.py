"""Every command, from outside, on the service as it ships."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(200)]


def test_the_first_volume_its_snapshot_and_a_roll_back(cli, name):
    made = cli("volume", "create", "dummy", name, "--size", "10GiB", "-o", "json")
    assert (made.status, made.json["size_total"]) == (0, 10 * 2**30)
    assert cli("snapshot", "create", "dummy", name, "first").status == 0
    assert cli("snapshot", "create", "dummy", name, "second").status == 0
    back = cli("volume", "rollback", "dummy", name, "--to", "first", "--yes")
    assert back.status == 0, back.err
    assert cli("snapshot", "list", "dummy", name, "-o", "name").out.split() == ["first"]
