"""Rules for every route, also for those added later."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from api.openapi.blueprint import ANYONE, MAY_CHANGE, SIGNED_IN
from storage_backends.errors import CODES
from tests.api.front_end import FrontEnd
from worker.catalog.operations import OPERATIONS, Role
from worker.catalog.problem_types import PROBLEM_TYPES, STATUS
from worker.jobs.failure import FAILURE_DETAILS, REQUEST_FAULTS
from worker.store.script_runner import script_source

#: Pages for people and their files, which are no part of the API; who may see the status page is that page's own test.
_PLAIN = {"docs.page", "docs.asset", "docs.document", "docs.problem", "status.page"}
_CONTRACT = [
    "invalid-request",
    "unauthenticated",
    "missing-role",
    "cross-site-request",
    "no-such-subsystem",
    "no-such-volume",
    "no-such-snapshot",
    "no-such-policy",
    "no-such-job",
    "not-found",
    "already-exists",
    "lock-held",
    "policy-in-use",
    "resource-busy",
    "too-many-snapshots",
    "job-not-finished",
    "job-cancelled",
    "job-not-cancellable",
    "job-shared",
    "job-expired",
    "result-expired",
    "page-token-expired",
    "validation-failed",
    "idempotency-key-reused",
    "queue-full",
    "not-supported",
    "backend-error",
    "queue-unavailable",
    "backend-unavailable",
    "not-cached",
    "backend-timeout",
    "worker-lost",
    "timed-out",
    "outcome-unknown",
]


def _views(front_end: FrontEnd) -> Iterator[tuple[str, str, Any]]:
    app = front_end.app()
    for rule in app.url_map.iter_rules():
        if rule.rule.startswith("/v3/"):
            continue  # The same operations in other words: tests/api/v3 has them.
        view = app.view_functions[rule.endpoint]
        methods = (rule.methods or set()) - {"HEAD", "OPTIONS"}
        for method in methods:
            of_class = getattr(view, "view_class", None)
            yield rule.endpoint, method, getattr(of_class, method.lower()) if of_class else view


@pytest.fixture
def views(front_end: FrontEnd) -> list[tuple[str, str, Any]]:
    return list(_views(front_end))


def test_every_route_declares_its_role(views):
    signing_in = {"authentication", "configuration", "resource-metadata"}
    silent = [
        (endpoint, method)
        for endpoint, method, view in views
        if endpoint not in _PLAIN
        and endpoint.partition(".")[0] not in signing_in
        and getattr(view, "access", None) not in (*Role, ANYONE, MAY_CHANGE, SIGNED_IN)
    ]
    assert [route for route in silent if "sign" not in route[0] and "login" not in route[0]] == []


def test_a_route_requires_the_role_of_its_operation(views):
    assert len(views) > 20
    for _, _, view in views:
        for operation in getattr(view, "operations", ()):
            assert view.access is operation.role


def test_every_operation_is_served_once(views):
    served = [operation.name for _, _, view in views for operation in getattr(view, "operations", ())]
    assert sorted(served) == sorted(OPERATIONS)


def test_no_operation_is_reached_without_its_role(front_end, views):
    assert len(views) > 20
    paths = {"subsystem": "filer", "volume": "v", "name": "s", "host": "h", "policy": "p", "rule": "r"}
    for role in Role:
        client = front_end.client(*set(Role) - {role})
        adapter = front_end.app().url_map.bind("localhost")
        for endpoint, method, view in views:
            for operation in getattr(view, "operations", ()):
                values = {name: paths[name] for name in _arguments(front_end, endpoint)}
                path, at_once = adapter.build(endpoint, values, method), {"Prefer": "respond-async"}
                response = client.open(path, method=method, data=b"{", headers=at_once)
                assert (response.status_code == 403) == (operation.role is role), (endpoint, method)


def _arguments(front_end: FrontEnd, endpoint: str) -> set[str]:
    return next(rule.arguments for rule in front_end.app().url_map.iter_rules(endpoint))


def test_failures_caused_by_requests_have_a_4xx_status():
    codes = {*CODES, *FAILURE_DETAILS}
    assert {code for code in codes if STATUS[code] < 500} | {"not-supported", "batch-failed"} == REQUEST_FAULTS
    (in_lua,) = re.findall(r"REQUEST_FAULTS = ' ([a-z -]+) ' \.\.\n  '([a-z -]+) '", script_source("claim"))
    assert {*" ".join(in_lua).split()} == REQUEST_FAULTS


@pytest.mark.parametrize("code", sorted({*_CONTRACT, *CODES, *FAILURE_DETAILS}))
def test_every_code_has_a_status_and_a_page(front_end, code):
    assert 400 <= STATUS[code] < 600
    assert front_end.stranger().get(f"/problems/{code}").json["title"] == PROBLEM_TYPES[code].title


def test_the_front_end_loads_no_back_end_and_no_vendor_library():
    check = (
        "import api.app, sys; loaded = set(sys.modules);"
        "sys.exit(bool(loaded & {'netapp_ontap', 'storage_backends.registry', 'storage_backends.dummy',"
        "'storage_backends.netapp', 'worker.main', 'worker.runtime', 'worker.execution', 'worker.maintenance'}))"
    )
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
