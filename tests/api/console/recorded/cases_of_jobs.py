"""The cases that are recorded: jobs, export policies, what is out of service, and the overview."""

from __future__ import annotations

from collections import Counter
from typing import Any

from api.console.job_links import CHANGES
from api.monitoring.service_status import BackendStatus, QueueStatus, WebhookStatus
from api.resources.status import Failure
from tests.api.console.recorded.answers import Answer, listing, made, one, refused
from tests.api.console.recorded.cases import ADMIN, UBER, USER, Case
from tests.api.console.recorded.documents import (
    GIB,
    id_of,
    job,
    problem,
    progress,
    queued,
    volume,
    wrong,
)

_J, _B, _JOBS = "/console/jobs", "/console/job-actions", "GET /v4/jobs"
_ID = id_of(0x100)
_ONE = f"GET /v4/jobs/{_ID}"
_PAGE = f"{_J}/{_ID}"
_WORKS = [
    queued(0x400, "behind-jobs"), job(0x300, state="running", requested_by="bob"),
    job(0x280, "batch", "running", request={"name": "night"}, children={"total": 4}, progress=progress(25), target=""),
    job(0x270, "batch", "failed", request={"name": "eve"}, children={"total": 4}, error=problem("batch-failed")),
    job(0x260, "batch", request={"name": "day"}, children={"total": 4}, progress=progress(100), subsystem="filer"),
    job(0x200, "restrict_volume", "cancelled", started_at=None), job(0x180, state="cancelling", requested_by=None),
]  # fmt: skip


def _shown(document: dict[str, Any], *lists: Answer) -> dict[str, Any]:
    return {_ONE: Answer(document), _JOBS: lists or listing([])}


_MEMBERS = [job(0x101, "create_snapshot", batch=_ID), queued(0x102, batch=_ID, requested_by="bob")]
_CHILDREN = {"total": 3, "queued": 1, "running": 0, "succeeded": 1, "failed": 1, "cancelled": 0}
_FAILED = job(
    0x100, "create_lock", "failed", request={"volume": "db01", "host": "h1"}, retry_of=id_of(0x50), attempt=3,
    error=wrong("x") | problem("lock-held", backend_error={"code": "9", "message": "Held"}),
    attempts=[{"at": "2026-03-02T11:30:00.000Z", "code": "backend-unavailable", "detail": "Away", "retry_in_s": 2.5}],
    backend_job="ontap-1", trace_id="0af7651916cd43dd8448eb211c80319c",
)  # fmt: skip
_DOUBT = job(state="running", progress=progress(None, message="the outcome is being settled"), cancellable=False)
_READ = job(
    operation="list_volumes", request={}, target="/v4/filer/volumes", result={"href": "/r", "status": 200}, attempt=0
)
_RETRYABLE = job(state="failed", error=problem("backend-unavailable"), requested_by="bob")

JOBS: dict[str, Case] = {
    "jobs": Case(_J, {_JOBS: listing(_WORKS, following="t2")}),
    "jobs-for-user": Case(f"{_J}?state=queued&operation=create_volume&volume=db01", {_JOBS: listing(_WORKS[:1])}, USER),
    "jobs-of-everybody": Case(
        f"{_J}?all=true&requested_by=bob&state=queued,running,cancelling&subsystem=filer&page_token=t1&limit=2",
        {_JOBS: listing(_WORKS)}, UBER,
    ),
    "jobs-of-everybody-for-admin": Case(f"{_J}?all=true&state=failed,cancelled", {_JOBS: listing(_WORKS)}, ADMIN),
    "jobs-batches": Case(f"{_J}?operation=batch&batch=b1&id=i1", {_JOBS: listing(_WORKS[2:3])}, ADMIN),
    "jobs-several": Case(f"{_J}?operation=get_volume,get_policy&state=failed,queued", {_JOBS: listing([])}, ADMIN),
    "jobs-none-of-everybody": Case(f"{_J}?all=true&state=failed", {_JOBS: listing([])}),
    "jobs-changes": Case(f"{_J}?operation={CHANGES}", {_JOBS: listing([])}, UBER),
    "jobs-none-for-user": Case(f"{_J}?state=cancelled", {_JOBS: listing([])}, USER),
    "jobs-filter-refused": Case(f"{_J}?created_after=x&state=queued", {_JOBS: refused(wrong("created_after"))}),
    "jobs-unavailable": Case(_J, {_JOBS: refused(problem("queue-unavailable"))}),
    "jobs-for-browsers": Case("/v4/jobs?state=failed", {_JOBS: listing([])}, headers={"Accept": "text/html"}),
    "job-queued": Case(
        _PAGE,
        _shown(queued(0x100, "behind-jobs", 1200), listing([queued(0x100 - n) for n in range(-1, 11)])),
    ),
    "job-next": Case(
        _PAGE,
        _shown(
            queued(0x100, "no-worker-online", operation="get_volume"),
            listing([job(0x90, state="running"), job(0x91, state="running", queue={"name": "filer.read"})]),
        ),
        USER,
    ),
    "job-running": Case(
        _PAGE, _shown(job(state="running", progress=progress(40, 2, 5, "mounting"), requested_by="bob")), ADMIN
    ),
    "job-begun": Case(_PAGE, _shown(job(state="running", progress=progress(None, message="looking"))), UBER),
    "job-cancelling": Case(_PAGE, _shown(job(state="cancelling", cancellable=False)), USER),
    "job-cancelled": Case(_PAGE, _shown(job(state="cancelled", started_at=None)), ADMIN),
    "job-cancelled-late": Case(_PAGE, _shown(job(state="cancelled", request={}, subsystem=None, target="")), USER),
    "job-failed": Case(_PAGE, _shown(_FAILED)),
    "job-failed-retryable": Case(_PAGE, _shown(_RETRYABLE), ADMIN),
    "job-succeeded": Case(_PAGE, _shown(job(result={"href": "/r", "status": 201, "value": {"name": "ä", "n": [1]}}))),
    "job-restricted": Case(
        _PAGE, _shown(job(operation="restrict_volume", result={"href": "/r", "status": 204, "value": None}))
    ),
    "job-restricted-for-user": Case(_PAGE, _shown(job(operation="restrict_volume")), USER),
    "job-read": Case(_PAGE, _shown(_READ), USER),
    "job-of-policy": Case(
        _PAGE,
        _shown(job(operation="delete_policy", request={"policy": "a b/c", "rule": "@r"}, target="/v4/filer/export/p")),
    ),
    "job-of-policy-failed": Case(
        _PAGE,
        _shown(job(0x100, "delete_policy", "failed", request={"policy": "a b/c"}, error=problem("policy-in-use"))),
        ADMIN,
    ),
    "job-batch": Case(
        _PAGE,
        _shown(
            job(0x100, "batch", "running", request={"name": "night"}, children=_CHILDREN, target="/v4/batches"),
            listing(_MEMBERS),
        ),
    ),
    "job-batch-for-user": Case(
        _PAGE, _shown(job(operation="batch", request={}, children=_CHILDREN | {"total": 2}), listing(_MEMBERS)), USER
    ),
    "job-member": Case(_PAGE, _shown(job(batch=id_of(0x80), result={"href": "/r", "status": 201})), USER),
    "job-in-doubt": Case(_PAGE, _shown(_DOUBT), UBER),
    "job-in-doubt-for-admin": Case(_PAGE, _shown(_DOUBT), ADMIN),
    "job-settled": Case(_PAGE, _shown(_DOUBT | {"done": True, "state": "failed", "error": problem("outcome-unknown")})),
    "job-in-flower": Case(_PAGE, _shown(job()), with_frame=True, flower_url="https://f.example.org/x/"),
    "job-gone": Case(_PAGE, {_ONE: refused(problem("job-expired"))}),
    "job-for-browsers": Case(f"/v4/jobs/{_ID}", _shown(job()), headers={"Accept": "text/html"}),
    "send-cancel": Case(f"{_PAGE}/cancel", {f"POST /v4/jobs/{_ID}/cancel": Answer(job(), 202)}, USER, {}),
    "send-retry": Case(f"{_PAGE}/retry", {f"POST /v4/jobs/{_ID}/retry": made(job(0x700))}, ADMIN, {}),
    "send-settle": Case(f"{_PAGE}/settle", {f"POST /v4/jobs/{_ID}/settle": Answer(job())}, UBER, {"outcome": "failed"}),
    "send-retry-refused": Case(
        f"{_PAGE}/retry", {f"POST /v4/jobs/{_ID}/retry": refused(problem("queue-full"))}, ADMIN, {}
    ),
    "send-job-unknown": Case(f"{_PAGE}/praise", {}, ADMIN, {}),
    "bulk-cancel": Case(
        f"{_B}/cancel?all=true&state=queued,running&operation={CHANGES}&volume=db01", {_JOBS: listing(_WORKS[:3])}
    ),
    "bulk-retry": Case(f"{_B}/retry?state=failed&created_before=2026-01-01", {_JOBS: listing([job()] * 21)}, USER),
    "bulk-most": Case(f"{_B}/retry?state=failed&all=false", {_JOBS: listing([job()] * 1000)}, ADMIN),
    "bulk-none": Case(f"{_B}/cancel?state=queued", {_JOBS: listing([])}, ADMIN),
    "bulk-refused": Case(f"{_B}/cancel?state=x", {_JOBS: refused(wrong("state"))}),
    "bulk-unknown": Case(f"{_B}/praise"),
    "send-bulk-cancel": Case(
        f"{_B}/cancel",
        {
            "POST /v4/jobs/cancel": Answer(
                {"cancelled": [id_of(1), id_of(2)], "refused": [{"id": id_of(3), "code": "job-shared"}]}
            )
        },
        form={"all": "true", "state": "queued", "volume": "", "key": "k1"},
    ),
    "send-bulk-retry": Case(
        f"{_B}/retry", {"POST /v4/jobs/retry": Answer({"retried": [id_of(n) for n in range(201)], "refused": []})},
        USER, {"all": "false", "state": "failed", "key": "k1"},
    ),
    "send-bulk-none": Case(
        f"{_B}/retry",
        {"POST /v4/jobs/retry": Answer({"retried": [], "refused": [{"id": id_of(3), "code": "missing-role"}]})},
        USER, {"id": id_of(3)},
    ),
    "send-bulk-refused": Case(f"{_B}/cancel", {"POST /v4/jobs/cancel": refused(wrong("state"))}, form={"state": "x"}),
}  # fmt: skip

_E, _P = "/console/filer/export", "/console/filer/policy-actions"
_RULE = {"index": 1, "clients": ["10.0.0.0/8", "@net<g>"], "ro": ["sys", "krb5"], "rw": [], "superuser": ["any"],
         "protocols": ["nfs3", "nfs4"]}  # fmt: skip
_POLICY = {
    "name": "a b/c",
    "rules": ["10.0.0.0/8", "@net<g>"],
    "details": [_RULE, _RULE | {"index": 2, "clients": ["h"]}],
}
_OF_POLICY = {"GET /v4/filer/export/a b/c": one(_POLICY)}
_MADE, _RESTRICTED = made(job(0x500)), "/console/filer/restricted"
_GONE = {"GET /v4/filer/restricted": listing([volume("gone1"), volume("gone.2", size_total=None)])}

POLICIES: dict[str, Case] = {
    "policies": Case(
        _E,
        {
            "GET /v4/filer/export": listing([
                _POLICY, {"name": "none", "rules": []}, {"name": "many", "rules": [f"h{n}" for n in range(10)]}
            ])
        },
        ADMIN,
    ),
    "policies-none": Case(_E, {"GET /v4/filer/export": listing([])}),
    "policies-reading": Case(_E, {"GET /v4/filer/export": Answer(job(0x900, state="running"), 202)}),
    "policies-refused": Case(_E, {"GET /v4/filer/export": refused(problem("backend-unavailable"))}),
    "policy": Case(f"{_E}/a%20b/c", _OF_POLICY, ADMIN),
    "policy-without-details": Case(
        f"{_E}/p1", {"GET /v4/filer/export/p1": one({"name": "p1", "rules": ["a", "b"]})}
    ),
    "policy-without-rules": Case(
        f"{_E}/p1", {"GET /v4/filer/export/p1": one({"name": "p1", "rules": [], "details": []})}
    ),
    "policy-reading": Case(f"{_E}/p1", {"GET /v4/filer/export/p1": Answer(job(0x900, state="running"), 202)}),
    "policy-gone": Case(f"{_E}/p1", {"GET /v4/filer/export/p1": refused(problem("no-such-policy"))}),
    "send-add-rule": Case(
        f"{_P}/add-rule/a%20b/c", {"PUT /v4/filer/export/a b/c/rule/10.0.0.0/8": _MADE}, ADMIN, {"rule": " 10.0.0.0/8 "}
    ),
    "send-add-rule-refused": Case(
        f"{_P}/add-rule/a%20b/c", _OF_POLICY | {"PUT /v4/filer/export/a b/c/rule/x y": refused(wrong("rule"))}, ADMIN,
        {"rule": "x y"},
    ),
    "send-add-rule-refused-while-reading": Case(
        f"{_P}/add-rule/p1",
        {"GET /v4/filer/export/p1": Answer(job(0x900, state="running"), 202),
         "PUT /v4/filer/export/p1/rule/x": refused(problem("queue-full"))},
        ADMIN, {"rule": "x"},
    ),
    "send-remove-rule": Case(
        f"{_P}/remove-rule/a%20b/c", {"DELETE /v4/filer/export/a b/c/rule/@g": _MADE}, ADMIN, {"rule": "@g"}
    ),
    "send-delete-policy": Case(
        f"{_P}/delete/a%20b/c", {"DELETE /v4/filer/export/a b/c": _MADE}, ADMIN, {"confirm": "a b/c ", "key": "k1"}
    ),
    "send-delete-policy-unconfirmed": Case(f"{_P}/delete/a%20b/c", _OF_POLICY, ADMIN, {"confirm": "a b"}),
    "send-policy-unknown": Case(f"{_P}/praise/p1", {}, ADMIN, {}),
    "restricted": Case(_RESTRICTED, _GONE, UBER),
    "restricted-none": Case(_RESTRICTED, {"GET /v4/filer/restricted": listing([])}),
    "restricted-reading": Case(_RESTRICTED, {"GET /v4/filer/restricted": Answer(job(0x900, state="running"), 202)}),
    "restricted-refused": Case(_RESTRICTED, {"GET /v4/filer/restricted": refused(problem("not-supported"))}),
    "send-reinstate": Case(
        f"{_RESTRICTED}/gone1", {"POST /v4/filer/restricted/gone1/reinstate": _MADE}, UBER,
        {"junction_path": " /a ", "key": "k1"},
    ),
    "send-reinstate-refused-while-reading": Case(
        f"{_RESTRICTED}/gone1",
        {"GET /v4/filer/restricted": Answer(job(0x900, state="running"), 202),
         "POST /v4/filer/restricted/gone1/reinstate": refused(problem("queue-full"))},
        UBER, {"junction_path": "/a"},
    ),
    "send-reinstate-refused": Case(
        f"{_RESTRICTED}/gone1", _GONE | {"POST /v4/filer/restricted/gone1/reinstate": refused(wrong("junction_path"))},
        UBER, {"junction_path": "a"},
    ),
}  # fmt: skip

_QUEUES = [
    QueueStatus("filer.list", 0, 0, 0.0, ("w1",)), QueueStatus("filer.read", 0, 2, 0.0, ("w1", "w2")),
    QueueStatus("filer.write", 3, 1, 400.0, ("w1",)), QueueStatus("other.list", 0, 0, 0.0, ()),
    QueueStatus("other.read", 0, 0, 5.0, ("w1", "w2")), QueueStatus("other.write", 2, 0, 61.0, ()),
    QueueStatus("third.write", 0, 1, 0.0, ()),
]  # fmt: skip
_FAILURES = [
    Failure("2 min", "create_volume", "filer", "backend-error", _ID, "/v4/filer/volumes/x", "Disk full", "ann"),
    Failure("1 h", "delete_policy", "other", "timed-out"),
    Failure("2 h", "list_volumes", "other", "timed-out", id_of(9), "", "", ""),
]  # fmt: skip
QUIET: dict[str, Any] = {
    "troubles": [], "queues": [_QUEUES[0], _QUEUES[4]],
    "workers": {"w1": ["filer.list", "other.read"], "w2": ["other.read"]},
    "draining": [], "filers": [BackendStatus("filer", "available", "", Counter())], "listings": [], "webhooks": [],
    "failures": [],
}  # fmt: skip
_TROUBLED = QUIET | {
    "troubles": ["No worker serves other.list: its jobs wait."], "queues": _QUEUES, "draining": ["w9"],
    "workers": {"w1": [queue.name for queue in _QUEUES], "w2": ["filer.read", "other.read"]},
    "filers": [
        BackendStatus(name, status, detail, Counter())
        for name, status, detail in (
            ("filer", "available", ""), ("other", "unavailable", "Timed out"), ("third", "unknown", ""),
        )
    ],
    "webhooks": [WebhookStatus("ops", 3, 330.0, "HTTP 500"), WebhookStatus("mail", 0, 0.0, "")], "failures": _FAILURES,
}  # fmt: skip
_CAPACITIES = {
    f"GET /v4/{name}/volumes": answer
    for name, answer in {
        "filer": listing([volume(), volume("full1", size_used=10 * GIB)]), "other": refused(problem("not-cached")),
        "third": listing([volume(str(n), size_used=9 * GIB) for n in range(2)], age_s=7200),
    }.items()
}  # fmt: skip
_WELL = {"GET /v4/filer/volumes": listing([volume()]), _JOBS: listing([])}
#: What the service itself says of its state, by the case; it is quiet in the others.
STATES = {
    "overview-troubled": _TROUBLED, "overview-troubled-for-stranger": _TROUBLED | {"webhooks": []},
    "overview-draining": QUIET | {"draining": ["w9"]},
}  # fmt: skip

OVERVIEW: dict[str, Case] = {
    "console": Case("/console", roles=USER),
    "overview": Case("/console/", _WELL, ADMIN, with_frame=True),
    "overview-for-user": Case("/console/", _WELL | {_JOBS: listing(_WORKS[:1])}, USER, with_frame=True),
    "overview-for-stranger": Case("/console/", _WELL, None, with_frame=True),
    "overview-draining": Case("/console/", _WELL, UBER),
    "overview-full": Case("/console/", _CAPACITIES | {_JOBS: listing([])}, UBER),
    "overview-troubled": Case(
        "/console/",
        _CAPACITIES | {_JOBS: listing([*_WORKS, job(0x10, batch=id_of(2)), *(job(n) for n in range(1, 9))])},
    ),
    "overview-troubled-for-stranger": Case("/console/", _CAPACITIES, None),
    "overview-without-redis": Case("/console/", roles=UBER, with_frame=True),
    "asset-unknown": Case("/console/assets/x.js", roles=USER),
}  # fmt: skip
