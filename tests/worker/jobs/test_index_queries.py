"""Which properties of the index a search asks for: combined ones wherever there are such, since they are rarer."""

from __future__ import annotations

import pytest

from worker.catalog.operations import Role
from worker.jobs.query import JobFilter, JobScope, index_query, key_of
from worker.jobs.record import State

_ANN, _BOB = (f"requester:{key_of(name)}" for name in ("ann", "bob"))
_ENDS = ("succeeded", "failed", "cancelled")


def _groups(job_filter: JobFilter, scope: JobScope) -> list[list[str]]:
    groups: list[list[str]] = index_query(job_filter, scope, seqs=(0, 9), limit=1, effort=1)["groups"]
    return groups


def _of_each_class(*names: str) -> list[str]:
    return [f"{name} {state_class}" for name in names for state_class in ("open", *_ENDS)]


@pytest.mark.parametrize(
    ("job_filter", "scope", "groups"),
    [
        (
            JobFilter(operations=("create_volume", "restrict_volume")), JobScope("ann"),
            [[f"{_ANN} operation:create_volume", f"{_ANN} operation:restrict_volume"]],
        ),
        # The role of a user does not show the operation of an administrator.
        (
            JobFilter(operations=("create_volume",)), JobScope("ann", frozenset({Role.USER})),
            [[f"{_ANN} operation:create_volume"]],
        ),
        # That of an administrator shows all of its jobs.
        (
            JobFilter(operations=("create_volume",)), JobScope("ann", frozenset({Role.ADMIN})),
            [_of_each_class("operation:create_volume")],
        ),
        # A batch has the roles of all its members.
        (
            JobFilter(operations=("batch",)), JobScope("ann", frozenset({Role.USER})),
            [_of_each_class("operation:batch"), _of_each_class(_ANN, "roles:USER")],
        ),
        (
            JobFilter(operations=("create_volume",), subsystem="filer", requested_by="bob"), JobScope(everybody=True),
            [
                ["operation:create_volume subsystem:filer"],
                [f"{_BOB} operation:create_volume", f"named:{key_of('bob')} operation:create_volume"],
                [f"{_BOB} subsystem:filer", f"named:{key_of('bob')} subsystem:filer"],
            ],
        ),
        (JobFilter(subsystem="filer"), JobScope("ann"), [[f"{_ANN} subsystem:filer"]]),
        (JobFilter(), JobScope("ann"), [_of_each_class(_ANN)]),
        (JobFilter(), JobScope(everybody=True), [[f"state:{state}" for state in State]]),
        (JobFilter(states=(State.FAILED,)), JobScope(everybody=True), [["state:failed"]]),
        (JobFilter(states=(State.FAILED,), subsystem="filer"), JobScope(everybody=True), [["subsystem:filer failed"]]),
        (
            JobFilter(states=(State.RUNNING, State.FAILED), subsystem="filer"), JobScope(everybody=True),
            [["subsystem:filer open", "subsystem:filer failed"], ["state:running", "state:failed"]],
        ),
        (
            JobFilter(states=(State.QUEUED,), operations=("create_volume",)), JobScope("ann"),
            [[f"{_ANN} operation:create_volume"], ["operation:create_volume open"], [f"{_ANN} open"], ["state:queued"]],
        ),
    ],
)  # fmt: skip
def test_a_search_consists_of_groups(job_filter: JobFilter, scope: JobScope, groups: list[list[str]]):
    assert _groups(job_filter, scope) == groups


def test_a_search_is_limited_by_the_given_filters_only():
    assert index_query(JobFilter(), JobScope(everybody=True), seqs=(3, 9), limit=5, effort=7) == {
        "floor": 3, "below": 9, "limit": 5, "effort": 7, "groups": [[f"state:{state}" for state in State]],
        "batch": "", "volume": "", "classes": ["open", *_ENDS],
        "created_after": 0, "created_before": 0, "finished_after": 0, "finished_before": 0,
    }  # fmt: skip
    times = {"created_after": 1, "created_before": 2, "finished_after": 3, "finished_before": 4}
    job_filter = JobFilter(batch="b", volume="v", **{f"{name}_ms": time_ms for name, time_ms in times.items()})  # type: ignore[arg-type]
    query = index_query(job_filter, JobScope(everybody=True), seqs=(0, 9), limit=1, effort=1)
    assert {name: query[name] for name in ("batch", "volume", *times)} == {"batch": "b", "volume": "v", **times}
