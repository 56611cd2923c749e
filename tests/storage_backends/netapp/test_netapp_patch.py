"""What is sent for a volume to be as asked for, whatever the filer tells of it; and what can never work."""

from __future__ import annotations

from typing import Any

import pytest

from storage_backends.errors import InvalidRequest
from storage_backends.journal import InMemoryJournal
from storage_backends.netapp.operations.volume_patch import changes
from tests.ontap_simulator import Simulator
from tests.storage_backends.netapp.changes import furnish
from tests.storage_backends.netapp.opening import open_backend


@pytest.mark.parametrize(
    ("mode", "settings", "sent"),
    [
        (None, {"autosize_enabled": False}, {"autosize": {"mode": "off"}}),
        (None, {"autosize_enabled": True}, {"autosize": {"mode": "grow"}}),
        ("off", {"autosize_enabled": False}, {}),
        ("grow", {"autosize_enabled": False}, {"autosize": {"mode": "off"}}),
        (None, {"comment": "c"}, {"comment": "c"}),
    ],
)
def test_autosize_that_the_filer_does_not_tell_is_sent(ontap: Simulator, mode: Any, settings: Any, sent: Any) -> None:
    furnish(ontap)
    record = next(iter(ontap.world.volumes.values())) | {"autosize": {"mode": mode} if mode else {}}
    assert changes(record, settings) == sent


@pytest.mark.parametrize("path", ["new", "/", ""])
def test_a_junction_path_that_is_no_place_is_refused_before_anything_is_sent(ontap: Simulator, path: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        open_backend(ontap).create_volume("new", journal=InMemoryJournal(), junction_path=path)
    assert [error.pointer for error in refused.value.errors] == ["/junction_path"]
    assert ontap.changes_sent() == []


@pytest.mark.parametrize(
    ("dedupe", "settings", "sent"),
    [
        ("none", {"compression_enabled": False, "inline_compression": False}, {"compression": "none"}),
        ("none", {"compression_enabled": True}, {}),
        ("none", {"compression_enabled": False}, {"compression": "inline", "dedupe": "background"}),
        ("inline", {"inline_compression": False}, {"compression": "background"}),
    ],
)
def test_compression_needs_deduplication(ontap: Simulator, dedupe: str, settings: Any, sent: Any) -> None:
    furnish(ontap)
    record = next(iter(ontap.world.volumes.values())) | {"efficiency": {"compression": "both", "dedupe": dedupe}}
    assert changes(record, settings) == ({"efficiency": sent} if sent else {})
