"""Command lines, and the calls of the client that they make: every option has an effect."""

from __future__ import annotations

import shlex
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import ANY, Mock

import click
import pytest

from storage_api_client.cli.program import command_line
from storage_api_client.cli.state import State

_LISTING = "--where name=a* --where size_used=>1kB --sort -name --fields name,state --limit 3 --fresh"
_LISTED: dict[str, Any] = {
    "where": ("name=a*", "size_used=>1kB"), "sort": "-name", "fields": "name,state", "limit": 3, "fresh": True,
}  # fmt: skip
_SETTINGS = (
    "--size 1GiB --policy p --caching-policy c --snapshot-policy sp --unix-permissions 0755 --qos-policy q --comment x "
    "--no-autosize --max-autosize 2GiB --snapshot-reserve 20 --security-style ntfs --space-guarantee none "
    "--tiering-policy auto --compression --no-inline-compression"
)
_SET: dict[str, Any] = {
    "size_total": 2**30, "active_policy_name": "p", "caching_policy": "c", "snapshot_policy": "sp",
    "unix_permissions": "0755", "qos_policy": "q", "comment": "x", "autosize_enabled": False,
    "max_autosize": 2**31, "percentage_snapshot_reserve": 20, "security_style": "ntfs", "space_guarantee": "none",
    "tiering_policy": "auto", "compression_enabled": True, "inline_compression": False,
}  # fmt: skip
_JOBS = (
    "--all --state queued --state failed --operation create_lock --operation remove_lock --subsystem s --volume v "
    "--batch b --requested-by ann --since 2026-01-01 --until 2026-01-02 --finished-since 2026-01-03 "
    "--finished-until 2026-01-04"
)
_CHOSEN: dict[str, Any] = {
    "all": True, "state": "queued,failed", "operation": "create_lock,remove_lock", "subsystem": "s", "volume": "v",
    "batch": "b", "requested_by": "ann", "created_after": "2026-01-01T00:00:00Z",
    "created_before": "2026-01-02T00:00:00Z", "finished_after": "2026-01-03T00:00:00Z",
    "finished_before": "2026-01-04T00:00:00Z",
}  # fmt: skip
_VOLUMES, _POLICIES = "subsystem().volumes", "subsystem().policies"
#: A command, the method that it calls, and the arguments of that.
READS: dict[str, tuple[str, tuple[Any, ...], dict[str, Any]]] = {
    f"volume list s {_LISTING}": (f"{_VOLUMES}.list", (), _LISTED),
    f"volume list s --restricted {_LISTING}": (
        f"{_VOLUMES}.restricted",
        (),
        {name: value for name, value in _LISTED.items() if name != "fresh"},
    ),
    "volume show s v --fresh": (f"{_VOLUMES}.get", ("v",), {"fresh": True}),
    f"snapshot list s v {_LISTING}": (f"{_VOLUMES}.snapshots", ("v",), _LISTED),
    "snapshot show s v n --fresh": (f"{_VOLUMES}.get_snapshot", ("v", "n"), {"fresh": True}),
    "lock list s v --fresh": (f"{_VOLUMES}.locks", ("v",), {"fresh": True}),
    f"export list s {_LISTING}": (f"{_POLICIES}.list", (), _LISTED),
    "export show s p --fresh": (f"{_POLICIES}.get", ("p",), {"fresh": True}),
    f"job list --limit 7 {_JOBS}": ("jobs.list", (), {"limit": 7, **_CHOSEN}),
    f"events --after 9 {_JOBS}": ("events", (), {"after": "9", **_CHOSEN}),
    f"job cancel -y {_JOBS}": ("jobs.cancel_all", (), _CHOSEN),
    f"job retry -y {_JOBS} --idempotency-key k": ("jobs.retry_all", (), {**_CHOSEN, "idempotency_key": "k"}),
    "job settle 7 failed": ("jobs.settle", ("7", "failed"), {}),
    "job cancel 7": ("jobs.cancel", ("7",), {}),
    "job retry 7 --idempotency-key k": ("jobs.retry", ("7",), {"idempotency_key": "k"}),
    "batch retry 7 --idempotency-key k": ("jobs.retry", ("7",), {"idempotency_key": "k"}),
    "batch show 7": ("jobs.list", (), {"batch": "7", "all": True}),
    "session end ann": ("end_sessions", ("ann",), {}),
}
CHANGES: dict[str, tuple[str, tuple[Any, ...], dict[str, Any]]] = {
    f"volume create s v {_SETTINGS} --junction-path /j --aggregate a --name n": (
        f"{_VOLUMES}.create", ("v",), {**_SET, "junction_path": "/j", "aggregate_name": "a", "name": "n"},
    ),
    f"volume update s v {_SETTINGS}": (f"{_VOLUMES}.update", ("v",), _SET),
    "volume clone s v --from w@x --junction-path /j --policy p --size 1kB --name n": (
        f"{_VOLUMES}.clone", ("v", "w", "x"),
        {"junction_path": "/j", "active_policy_name": "p", "size_total": 1000, "name": "n"},
    ),
    "volume rollback s v --to x -y": (f"{_VOLUMES}.roll_back", ("v", "x"), {}),
    "volume restrict s v -y": (f"{_VOLUMES}.restrict", ("v",), {}),
    "volume reinstate s v --junction-path /j": (f"{_VOLUMES}.reinstate", ("v", "/j"), {}),
    "snapshot create s v n --purge-old-if-needed": (
        f"{_VOLUMES}.snapshot", ("v", "n"), {"purge_old_if_needed": True},
    ),
    "snapshot create s --where name=a* --where state=online n --purge-old-if-needed": (
        "order",
        (
            {
                "for_each": {"subsystem": "s", "where": "name=a*&state=online"},
                "request": {
                    "method": "POST", "path": "/v4/s/volumes/{name}/snapshots/n",
                    "body": {"purge_old_if_needed": True},
                },
            },
        ),
        {},
    ),
    "snapshot delete s v n -y": (f"{_VOLUMES}.delete_snapshot", ("v", "n"), {}),
    "lock create s v h": (f"{_VOLUMES}.lock", ("v", "h"), {}),
    "lock remove s v h": (f"{_VOLUMES}.unlock", ("v", "h"), {}),
    "export create s p --rule a --rule b": (f"{_POLICIES}.create", ("p", ("a", "b")), {}),
    "export delete s p -y": (f"{_POLICIES}.delete", ("p",), {}),
    "export rule add s p r": (f"{_POLICIES}.add_rule", ("p", "r"), {}),
    "export rule remove s p r": (f"{_POLICIES}.remove_rule", ("p", "r"), {}),
    "batch run ORDER --name b --on-failure stop --parallel 3": (
        "order", ({"name": "b", "on_failure": "stop", "parallel": 3, "requests": [{"method": "DELETE"}]},), {},
    ),
}  # fmt: skip


@dataclass
class Offline(State):
    """A call whose client is ``api``."""

    api: Mock = field(default_factory=Mock)
    timeouts: list[float | None] = field(default_factory=list)

    def client(self, timeout: float | None = None) -> AbstractContextManager[Any]:  # type: ignore[override]
        self.timeouts.append(timeout)
        return nullcontext(self.api)


def called(state: Offline, words: str, method: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """With which arguments a command calls this method once; those that were not chosen are left out."""
    command_line().main(shlex.split(words), obj=state, standalone_mode=False)
    (call,) = [call for call in state.api.mock_calls if call[0] == method]
    subsystems = [call[1] for call in state.api.mock_calls if call[0] == "subsystem"]
    assert subsystems == ([("s",)] if method.startswith("subsystem()") else [])
    return call[1], {name: value for name, value in call[2].items() if value is not None}


@pytest.fixture
def offline() -> Offline:
    bulk = Mock(done=(), refused=())
    answers: dict[str, Any] = {"jobs.cancel_all.return_value": bulk, "jobs.retry_all.return_value": bulk}
    answers |= dict.fromkeys(
        ("jobs.list.return_value", "events.return_value",
         *(f"subsystem.return_value.{listing}.return_value" for listing in (
             "volumes.list", "volumes.restricted", "volumes.snapshots", "volumes.locks", "policies.list"))), (),
    )  # fmt: skip
    answers["order.side_effect"] = lambda *_, wait, **__: () if wait else Mock()
    return Offline(output="name", api=Mock(**answers))


@pytest.mark.parametrize(
    "words",
    [
        "snapshot create s n", "snapshot create s v n m", "snapshot create s v n --where name=a*", "job cancel",
        "job retry", "job cancel 7 --volume v", "job retry 7 --state failed", "volume update s v",
        "volume clone s v --from w", "volume clone s v --from @x", "volume clone s v --from w@",
        "job list --since yesterday", "job cancel --until yesterday", "volume create s v --size 1XB",
    ],
)  # fmt: skip
def test_ambiguous_options_are_a_usage_error(offline: Offline, words: str) -> None:
    with pytest.raises(click.UsageError):
        command_line().main(shlex.split(words), obj=offline, standalone_mode=False)
    assert offline.api.mock_calls == []


@pytest.mark.parametrize("words", READS)
def test_each_read_command(offline: Offline, words: str) -> None:
    method, arguments, options = READS[words]
    assert called(offline, words, method) == (arguments, options)


@pytest.mark.parametrize("words", CHANGES)
@pytest.mark.parametrize("wait", [True, False])
def test_each_change_command(offline: Offline, words: str, wait: bool, tmp_path: Path, capsys: Any) -> None:
    method, arguments, settings = CHANGES[words]
    # What its options say counts, and not what is said in the file.
    order = "{requests: [{method: DELETE}], name: of-file, on_failure: continue, parallel: 9}"
    (tmp_path / "order.yaml").write_text(order)
    words = words.replace("ORDER", str(tmp_path / "order.yaml"))
    waiting: dict[str, Any] = {"wait": wait, "timeout": 3.5, "idempotency_key": "k"}
    if wait:
        waiting["on_progress"] = ANY
    options = f"--timeout 3.5 --idempotency-key k {'' if wait else '--no-wait'}"
    assert called(offline, f"{words} {options}", method) == (arguments, settings | waiting)
    assert offline.timeouts == [3.5]
    # What was made, or that it was done; these batches have no members.
    assert bool("".join(capsys.readouterr())) is (method != "order" or not wait)
