"""The cases that are recorded: who asks for what, and what the API answers then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.api.console.recorded.answers import Answer, Answers, listing, made, one, refused
from tests.api.console.recorded.documents import GIB, job, problem, progress, snapshot, volume, wrong
from worker.catalog.operations import Role

USER, ADMIN, UBER = (Role.USER,), (Role.USER, Role.ADMIN), (Role.USER, Role.UBER_ADMIN)
ALL = tuple(Role)


@dataclass(frozen=True)
class Case:
    """One request to the console."""

    address: str
    answers: Answers = field(default_factory=dict)
    #: None: an anonymous client, and all clients may read.
    roles: tuple[Role, ...] | None = ALL
    #: What the form has, when it is sent.
    form: Mapping[str, str] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    #: Are header and navigation recorded, too?
    with_frame: bool = False
    systems: tuple[str, ...] = ("filer", "other")
    flower_url: str = ""


_READING = Answer(job(0x900, "list_volumes", "running", progress=progress(40, 400, 1000)), 202)
_COMES = Answer(
    job(0x900, "list_volumes", "queued", queue={"waiting_reason": "no-worker-online"}, started_at=None), 202
)
_SNAPSHOTS = [
    snapshot("new", "2026-03-02T11:59:00Z", 3), snapshot("before.1+2:3"),
    snapshot("old", "2026-02-01T00:00:00Z", None),
]  # fmt: skip
_DB01, _LISTED = "GET /v4/filer/volumes/db01", "GET /v4/filer/volumes"
#: A filer may have other names than the service makes.
_ODD = volume(
    "odd 1/&#?", state="offline", size_used=None, active_policy_name=None, comment=None, autosize_enabled=None
)
_ROWS = [volume(), volume("full1", size_used=19 * GIB // 2, autosize_enabled=False), _ODD]
_OF_DB01: dict[str, Any] = {
    _DB01: one(volume()),
    f"{_DB01}/snapshots": listing(_SNAPSHOTS),
    f"{_DB01}/locks": listing([{"host": "2001:db8::1"}, {"host": "host1.example.org"}]),
    "GET /v4/jobs": listing([
        job(0x300, "create_snapshot", "failed", target="/v4/filer/volumes/db01/snapshots/s1", requested_by="bob",
            error=problem("too-many-snapshots")),
        job(0x200, "update_volume", "running", finished_at=None),
        job(0x100, target="/v4/filer/volumes/db011"),
    ]),
}  # fmt: skip
_BARE = _OF_DB01 | {
    _DB01: one(volume(state="offline", type="dp", extra_field=7)),
    f"{_DB01}/snapshots": listing([]), f"{_DB01}/locks": listing([]), "GET /v4/jobs": listing([]),
}  # fmt: skip
_CHOSEN = (
    "?columns=name&columns=size_used&columns=comment&columns=autosize_enabled&sort=-size_used"
    "&filter=comment%3D50%2525%26state%3Donline&q=db&rows=100&page=2&page_token=t1&refresh=1"
)
_V = "/console/filer/volumes"

VOLUMES: dict[str, Case] = {
    "volumes": Case(_V, {_LISTED: listing(_ROWS, total=1234, following="t2")}),
    "volumes-for-user": Case(_V, {_LISTED: listing(_ROWS)}, USER),
    "volumes-chosen": Case(_V + _CHOSEN, {_LISTED: listing(_ROWS, total=103, age_s=5400)}, ADMIN),
    "volumes-chosen-update": Case(
        _V + "?sort=size_total&refresh=1", {_LISTED: listing(_ROWS)}, UBER, headers={"X-Console-Update": "1"}
    ),
    "volumes-by-name": Case(f"{_V}?sort=name&q=d*", {_LISTED: listing(_ROWS[:1])}, USER),
    "volumes-two-conditions-on-one-field": Case(
        f"{_V}?filter=name%3D!db2%26size_used%3D%3E1%26size_used%3D%3C9%2525&q=db&size_used=!5", {_LISTED: listing([])}
    ),
    "volumes-none": Case(f"{_V}?state=off%26on", {_LISTED: listing([])}),
    "volumes-none-at-all": Case(_V, {_LISTED: listing([])}),
    "volumes-on-seven-systems": Case(
        _V, {_LISTED: listing([])}, with_frame=True, systems=("filer", *"abcdef"), flower_url="https://f.example.org/x/"
    ),
    "volumes-on-six-systems": Case(_V, {_LISTED: listing([])}, None, with_frame=True, systems=("filer", *"abcde")),
    "volumes-filter-is-none": Case(f"{_V}?filter=state&sort=comment"),
    "volumes-filter-refused": Case(f"{_V}?filter=size_used%3Dx", {_LISTED: refused(wrong("size_used"))}),
    "volumes-reading": Case(_V, {_LISTED: _READING}),
    "volumes-awaited-by-stranger": Case(f"{_V}?sort=name", {_LISTED: _COMES}, None),
    "volumes-refused": Case(_V, {_LISTED: refused(problem("queue-unavailable"))}),
    "volumes-csv": Case(
        f"{_V}.csv?q=*",
        {_LISTED: [listing([volume(comment="-1+2"), volume(comment="\t=1")], following="t2"), listing([_ODD])]}, USER,
    ),
    "volumes-json": Case(
        f"{_V}.json?columns=name&sort=-name&state=online", {_LISTED: listing([{"name": "a"}, {"name": "b"}])}
    ),
    "volumes-csv-reading": Case(f"{_V}.csv?q=db&state=online", {_LISTED: _READING}),
    "volumes-csv-refused": Case(f"{_V}.csv", {_LISTED: refused(problem("queue-full"))}),
    "volumes-xml": Case(f"{_V}.xml"),
    "volume": Case(f"{_V}/db01", _OF_DB01),
    "volume-for-user": Case(f"{_V}/db01", _OF_DB01, USER),
    "volume-for-admin": Case(f"{_V}/db01", _OF_DB01, ADMIN),
    "volume-for-uber-admin": Case(f"{_V}/db01", _OF_DB01, UBER),
    "volume-for-stranger": Case(f"{_V}/db01", _OF_DB01, None),
    "volume-bare": Case(f"{_V}/db01", _BARE),
    "volume-bare-for-user": Case(f"{_V}/db01", _BARE, USER),
    "volume-by-path": Case(
        f"{_V}/n1%3A%2Fdb%2001",
        {
            "GET /v4/filer/volumes/n1:/db 01": _OF_DB01[_DB01], "GET /v4/filer/volumes/n1:/db 01/snapshots": _READING,
            "GET /v4/filer/volumes/n1:/db 01/locks": _READING, "GET /v4/jobs": listing([]),
        },
    ),
    "volume-unread": Case(
        f"{_V}/db01",
        _OF_DB01
        | {f"{_DB01}/snapshots": refused(problem("not-cached")), f"{_DB01}/locks": refused(problem("not-supported"))},
        USER,
    ),
    "volume-snapshot-without-time": Case(
        f"{_V}/db01", _OF_DB01 | {f"{_DB01}/snapshots": listing([snapshot("new", None), *_SNAPSHOTS])}, USER
    ),
    "volume-update": Case(f"{_V}/db01", _OF_DB01, headers={"X-Console-Update": "1"}),
    "volume-reading": Case(f"{_V}/db01", {_DB01: _READING}, USER),
    "volume-gone": Case(f"{_V}/db01", {_DB01: refused(problem("no-such-volume"))}),
    "capacity": Case(
        "/console/filer/capacity",
        {_LISTED: listing([*_ROWS, volume("b", aggregate_name=None), volume("c", aggregate_name="a&b", size_used=0)])},
    ),
    "capacity-asked-for": Case(
        "/console/filer/capacity",
        {_LISTED: [refused(problem("not-cached")), listing([]), listing(_ROWS[:1])]}, USER,
    ),
    "capacity-never-there": Case(
        "/console/filer/capacity",
        {_LISTED: [refused(problem("not-cached")), listing([]), refused(problem("not-cached"))]}, UBER,
    ),
    "capacity-reading": Case("/console/filer/capacity", {_LISTED: [refused(problem("not-cached")), _READING]}),
    "capacity-refused": Case(
        "/console/filer/capacity", {_LISTED: [refused(problem("not-cached")), refused(problem("queue-full"))]}
    ),
    "refused": Case(
        f"{_V}/db01?a=b%26c",
        {
            _DB01: refused(
                wrong("volume") | {"backend_error": {"code": "917", "message": "No"}, "retryable": True}
            )
        },
    ),
    "nowhere": Case("/console/nowhere/volumes", {"GET /v4/nowhere/volumes": refused(problem("no-such-subsystem"))}),
    "stranger-refused": Case("/console/jobs?state=failed", roles=None, with_frame=True),
    "role-missing": Case("/console/filer/export", roles=USER, with_frame=True),
    "role-missing-for-form": Case("/console/filer/policy-actions/delete/x", roles=USER, form={}),
}  # fmt: skip

_A = "/console/filer/volume-actions"
_FORM = {_DB01: _OF_DB01[_DB01], f"{_DB01}/snapshots": _OF_DB01[f"{_DB01}/snapshots"]}
_MADE = made(job(0x500))
_REUSED = refused(problem("idempotency-key-reused"))
_CHANGED = {
    "was-size_total": "10.0 GiB", "size_total": " 12.5 GiB ", "was-autosize_enabled": "yes", "autosize_enabled": "no",
    "was-percentage_snapshot_reserve": "5", "percentage_snapshot_reserve": "7", "was-comment": "x", "comment": " ",
    "was-qos_policy": "q", "qos_policy": "", "was-max_autosize": "1 GB", "max_autosize": "3gb",
    "was-snapshot_policy": "d", "snapshot_policy": "d ", "was-inline_compression": "", "inline_compression": "maybe",
    "key": "k1",
}  # fmt: skip

ACTIONS: dict[str, Case] = {
    **{
        f"form-{name}": Case(f"{_A}/{name}/db01{query}", _FORM)
        for name, query in {
            "snapshot": "?name=n1", "delete-snapshot": "?name=a%2Bb", "change": "", "clone": "?from_snapshot=old",
            "roll-back": "", "restrict": "", "lock": "", "unlock": "?host=h%261",
        }.items()
    },
    "form-roll-back-to-old": Case(f"{_A}/roll-back/db01?from_snapshot=old", _FORM),
    "form-roll-back-to-new": Case(f"{_A}/roll-back/db01?from_snapshot=new", _FORM, ADMIN),
    "form-roll-back-to-none": Case(f"{_A}/roll-back/db01", _FORM | {f"{_DB01}/snapshots": listing([])}),
    "form-clone-of-none": Case(f"{_A}/clone/db01", _FORM | {f"{_DB01}/snapshots": listing([])}),
    "form-clone-reading": Case(f"{_A}/clone/db01", _FORM | {f"{_DB01}/snapshots": _READING}),
    "form-clone-refused": Case(f"{_A}/clone/db01", _FORM | {f"{_DB01}/snapshots": refused(problem("timed-out"))}),
    "form-lock-reading": Case(f"{_A}/lock/db01", {_DB01: _READING}),
    "form-lock-gone": Case(f"{_A}/lock/db01", {_DB01: refused(problem("no-such-volume"))}),
    "form-change-of-odd": Case(
        f"{_A}/change/db01",
        {_DB01: one(_ODD | {"space_guarantee": "file", "tiering_policy": None, "size_total": None})},
    ),
    "form-unknown": Case(f"{_A}/format/db01"),
    "form-not-for-admin": Case(f"{_A}/restrict/db01", roles=ADMIN),
    "form-not-for-uber-admin": Case(f"{_A}/snapshot/db01", roles=UBER, form={}),
    "send-snapshot": Case(
        f"{_A}/snapshot/db01", {"POST /v4/filer/volumes/db01/snapshots/n1": _MADE},
        form={"name": " n1 ", "purge_old_if_needed": "yes", "key": "k1", "size_total": "1"},
    ),
    "send-snapshot-without-name": Case(f"{_A}/snapshot/db01", _FORM, form={"name": " ", "key": "k1"}),
    "send-snapshot-refused": Case(
        f"{_A}/snapshot/db01",
        _FORM | {"POST /v4/filer/volumes/db01/snapshots/n1": refused(wrong("purge_old_if_needed"))},
        form={"name": "n1", "purge_old_if_needed": "yes", "key": "k1"},
    ),
    "send-delete-snapshot": Case(
        f"{_A}/delete-snapshot/db01", {"DELETE /v4/filer/volumes/db01/snapshots/n1": _MADE}, form={"name": "n1"}
    ),
    "send-change": Case(f"{_A}/change/db01", {"PATCH /v4/filer/volumes/db01": _MADE}, UBER, _CHANGED),
    "send-change-refused": Case(
        f"{_A}/change/db01", _FORM | {"PATCH /v4/filer/volumes/db01": refused(wrong("space_guarantee"))}, UBER,
        _CHANGED | {"size_total": "much", "space_guarantee": "volume"},
    ),
    "send-clone": Case(
        f"{_A}/clone/db01", {"POST /v4/filer/volumes/db02": _MADE}, ADMIN,
        {"new_name": "db02", "from_snapshot": "old", "junction_path": "", "size_total": "2TiB", "key": "k1"},
    ),
    "send-clone-to-path": Case(f"{_A}/clone/db01", _FORM, ADMIN, {"new_name": "a/b", "from_snapshot": "old"}),
    "send-clone-refused": Case(
        f"{_A}/clone/db01", _FORM | {"POST /v4/filer/volumes/db02": refused(wrong("from_snapshot"))}, ADMIN,
        {"new_name": "db02", "from_snapshot": "", "key": "k1"},
    ),
    "send-roll-back": Case(
        f"{_A}/roll-back/db01", _FORM | {"POST /v4/filer/volumes/db01": _MADE},
        form={"from_snapshot": "old", "later": "before.1+2:3 new", "confirm": " db01 ", "key": "k1"},
    ),
    "send-roll-back-reading": Case(
        f"{_A}/roll-back/db01", _FORM | {f"{_DB01}/snapshots": _READING},
        form={"from_snapshot": "old", "later": "before.1+2:3 new", "confirm": "db01", "key": "k1"},
    ),
    "send-roll-back-unconfirmed": Case(
        f"{_A}/roll-back/db01", _FORM, form={"from_snapshot": "old", "confirm": "db02", "key": "k1"}
    ),
    "send-roll-back-of-others": Case(
        f"{_A}/roll-back/db01", _FORM, form={"from_snapshot": "old", "later": "new", "confirm": "db01"}
    ),
    "send-restrict": Case(f"{_A}/restrict/db01", {"DELETE /v4/filer/volumes/db01": _MADE}, form={"confirm": "db01"}),
    "send-restrict-unconfirmed": Case(f"{_A}/restrict/db01", _FORM, form={"confirm": "x", "key": "k1"}),
    "send-restrict-again": Case(
        f"{_A}/restrict/db01", _FORM | {"DELETE /v4/filer/volumes/db01": _REUSED}, form={"confirm": "db01", "key": "k1"}
    ),
    "send-lock": Case(
        f"{_A}/lock/db01", {"PUT /v4/filer/volumes/db01/locks/2001:db8::1": _MADE}, ADMIN, {"host": "2001:db8::1"}
    ),
    "send-lock-refused": Case(
        f"{_A}/lock/db01", _FORM | {"PUT /v4/filer/volumes/db01/locks/h": refused(problem("lock-held"))}, ADMIN,
        {"host": "h", "key": "k1"},
    ),
    "send-lock-refused-while-reading": Case(
        f"{_A}/lock/db01", {_DB01: _READING, "PUT /v4/filer/volumes/db01/locks/h": refused(problem("lock-held"))},
        ADMIN, {"host": "h", "key": "k1"},
    ),
    "send-lock-while-redis-is-away": Case(
        f"{_A}/lock/db01",
        {
            _DB01: refused(problem("queue-full")),
            "PUT /v4/filer/volumes/db01/locks/h": refused(problem("queue-unavailable") | {"retryable": True}),
        },
        ADMIN, {"host": "h", "key": "k1"},
    ),
    "send-clone-refused-while-reading": Case(
        f"{_A}/clone/db01",
        _FORM | {
            f"{_DB01}/snapshots": _READING, "POST /v4/filer/volumes/db02": refused(problem("no-such-snapshot")),
        },
        ADMIN, {"new_name": "db02", "from_snapshot": "old"},
    ),
    "send-unlock": Case(f"{_A}/unlock/db01", {"DELETE /v4/filer/volumes/db01/locks/h": _MADE}, UBER, {"host": "h"}),
    "new-volume": Case("/console/filer/new-volume?comment=c"),
    "send-new-volume": Case(
        "/console/filer/new-volume", {"POST /v4/filer/volumes/db02": _MADE}, ADMIN,
        {"name": "db02", "size_total": "1.5 gib", "comment": "", "snapshot_policy": "s", "key": "k1", "other": "x"},
    ),
    "send-new-volume-without-name": Case("/console/filer/new-volume", {}, ADMIN, {"size_total": "1", "key": "k1"}),
    "send-new-volume-refused": Case(
        "/console/filer/new-volume", {"POST /v4/filer/volumes/db02": refused(wrong("size_total"))}, ADMIN,
        {"name": "db02", "size_total": "x", "key": "k1"},
    ),
    "send-new-volume-again": Case(
        "/console/filer/new-volume", {"POST /v4/filer/volumes/db02": _REUSED}, ADMIN, {"name": "db02", "key": "k1"}
    ),
    "new-policy": Case("/console/filer/new-policy", roles=ADMIN),
    "send-new-policy": Case(
        "/console/filer/new-policy", {"POST /v4/filer/export/p1": _MADE}, form={"name": "p1", "rules": " a  @b\n*.c "}
    ),
    "send-new-policy-refused": Case(
        "/console/filer/new-policy", {"POST /v4/filer/export/p1": refused(problem("already-exists"))},
        form={"name": "p1", "rules": "a", "key": "k1"},
    ),
    "snapshot-batch": Case("/console/filer/snapshot-batch", {_LISTED: listing([], total=7)}),
    "snapshot-batch-of-some": Case(
        "/console/filer/snapshot-batch?where=name%3Ddb*%26state%3Donline&name=n1",
        {_LISTED: listing([], total=1)}, ADMIN,
    ),
    "send-snapshot-batch": Case(
        "/console/filer/snapshot-batch", {"POST /v4/batches": _MADE},
        form={"where": " name=db* ", "name": "n1", "key": "k"},
    ),
    "send-snapshot-batch-refused": Case(
        "/console/filer/snapshot-batch",
        {"POST /v4/batches": refused(wrong("for_each/where")), _LISTED: refused(problem("not-cached"))},
        form={"where": "x", "name": "n1", "key": "k1"},
    ),
}  # fmt: skip
