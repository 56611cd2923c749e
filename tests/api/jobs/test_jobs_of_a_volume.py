"""Every change of a volume is among the jobs of that volume, by the name under which it was sent."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.front_end import accepted
from worker.catalog.operations import BATCH, OPERATIONS

_VOLUME = "/v4/filer/volumes/db01"
_CHANGES: dict[str, tuple[str, str, dict[str, Any] | None]] = {
    "create_volume": ("POST", _VOLUME, {}),
    "clone_volume": ("POST", _VOLUME, {"from_volume": "other", "from_snapshot": "snap"}),
    "roll_back_volume": ("POST", _VOLUME, {"from_snapshot": "snap"}),
    "update_volume": ("PATCH", _VOLUME, {"percentage_snapshot_reserve": 5}),
    "restrict_volume": ("DELETE", _VOLUME, None),
    "reinstate_volume": ("POST", "/v4/filer/restricted/db01/reinstate", {}),
    "create_snapshot": ("POST", f"{_VOLUME}/snapshots/snap", None),
    "delete_snapshot": ("DELETE", f"{_VOLUME}/snapshots/snap", None),
    "create_lock": ("PUT", f"{_VOLUME}/locks/host", None),
    "remove_lock": ("DELETE", f"{_VOLUME}/locks/host", None),
}


def test_no_change_of_a_volume_is_left_out():
    changes = {name for name, each in OPERATIONS.items() if each.is_change and each is not BATCH}
    assert {name for name in changes if "policy" not in name} == set(_CHANGES)


@pytest.mark.parametrize("operation", _CHANGES)
def test_a_change_is_found_by_its_volume(client: Any, operation: str):
    method, path, body = _CHANGES[operation]
    job = accepted(client.open(path, method=method, json=body))
    assert client.get(job).json["operation"] == operation
    found = client.get("/v4/jobs?volume=db01").json
    assert [(each["id"], each["operation"]) for each in found] == [(job.rpartition("/")[2], operation)]
