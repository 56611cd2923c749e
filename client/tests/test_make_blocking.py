"""What each method sends; and that the generated files are up to date."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows import JOB, answer, run
from storage_api_client.blocking.batch import Batch
from storage_api_client.blocking.executor import Executor
from storage_api_client.blocking.job import Job
from storage_api_client.blocking.jobs import Jobs
from storage_api_client.blocking.policies import Policies
from storage_api_client.blocking.volumes import Volumes
from storage_api_client.models import JobRecord
from storage_api_client.protocol.retries import Context

TOOLS = Path(__file__).parents[1] / "tools"
ENDED = JOB | {"state": "succeeded", "done": True, "result": {"value": {"name": "v"}}}


class Driver:
    """Answers requests, and records them."""

    def __init__(self, *answers: Any) -> None:
        self.answers = answers
        self.sent: list[Any] = []

    def run(self, flow: Any) -> Any:
        value, sent, _ = run(flow, *self.answers)
        self.sent += sent
        return value

    def iterate(self, flow: Any) -> Any:
        return iter(self.run(flow) or ())


def executor(*answers: Any, timeout: float | None = 7.0) -> tuple[Executor, list[Any]]:
    driver: Any = Driver(*answers)
    return Executor(driver, Context(), timeout), driver.sent


@pytest.mark.parametrize("tool", ["make_blocking.py", "share.py"])
def test_generated_files_are_up_to_date(tool: str) -> None:
    done = subprocess.run([sys.executable, TOOLS / tool, "--check"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


#: What was not chosen is not sent.
_UNSET: dict[str, Any] = {"qos_policy": None}
CHANGES: dict[str, tuple[Callable[..., Any], str, str, Any]] = {
    "create": (
        lambda f, **more: Volumes(f, "s").create("v", size_total="1kB", comment="c", **_UNSET, **more),
        "POST", "volumes/v", {"size_total": 1000, "comment": "c"},
    ),
    "clone": (
        lambda f, **more: Volumes(f, "s").clone("n:/p/q", "w", "x", size_total="2kB", **more),
        "POST", "volumes/n:/p/q", {"size_total": 2000, "from_volume": "w", "from_snapshot": "x"},
    ),
    "roll back": (
        lambda f, **more: Volumes(f, "s").roll_back("v", "x", **more), "POST", "volumes/v", {"from_snapshot": "x"},
    ),
    "update": (
        lambda f, **more: Volumes(f, "s").update("v", max_autosize="1KiB", autosize_enabled=False, **more),
        "PATCH", "volumes/v", {"max_autosize": 1024, "autosize_enabled": False},
    ),
    "restrict": (lambda f, **more: Volumes(f, "s").restrict("v", **more), "DELETE", "volumes/v", None),
    "reinstate": (
        lambda f, **more: Volumes(f, "s").reinstate("v", "/p", **more),
        "POST", "restricted/v/reinstate", {"junction_path": "/p"},
    ),
    "snapshot": (
        lambda f, **more: Volumes(f, "s").snapshot("v", "x y", purge_old_if_needed=True, **more),
        "POST", "volumes/v/snapshots/x%20y", {"purge_old_if_needed": True},
    ),
    "delete snapshot": (
        lambda f, **more: Volumes(f, "s").delete_snapshot("v", "x", **more), "DELETE", "volumes/v/snapshots/x", None,
    ),
    "lock": (lambda f, **more: Volumes(f, "s").lock("v", "h", **more), "PUT", "volumes/v/locks/h", None),
    "unlock": (lambda f, **more: Volumes(f, "s").unlock("v", "h", **more), "DELETE", "volumes/v/locks/h", None),
    "create policy": (
        lambda f, **more: Policies(f, "s").create("p", ("a", "b"), **more), "POST", "export/p", {"rules": ["a", "b"]},
    ),
    "delete policy": (lambda f, **more: Policies(f, "s").delete("p", **more), "DELETE", "export/p", None),
    "add rule": (
        lambda f, **more: Policies(f, "s").add_rule("p", "10.0.0.0/8", **more), "PUT", "export/p/rule/10.0.0.0/8", None,
    ),
    "remove rule": (
        lambda f, **more: Policies(f, "s").remove_rule("p", "@n", **more), "DELETE", "export/p/rule/@n", None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_each_change(change: str) -> None:
    call, method, path, body = CHANGES[change]
    more: dict[str, Any] = {"timeout": 5.5, "idempotency_key": "k", "callback_url": "https://c.example"}
    waiting, sent = executor(answer(200, {"name": "v"}))
    value = call(waiting, **more)
    assert getattr(value, "raw", None) == (None if method == "DELETE" else {"name": "v"})
    (request,) = sent
    assert (request.method, request.path, request.body) == (method, f"/v4/s/{path}", body)
    assert {name: request.headers[name] for name in ("Idempotency-Key", "Callback-URL", "Prefer")} == {
        "Idempotency-Key": "k", "Callback-URL": "https://c.example", "Prefer": "wait=5",
    }  # fmt: skip

    bound, sent = executor(answer(202, JOB))
    job = call(bound, wait=False)
    assert (job.id, [(one.method, one.path) for one in sent]) == ("1", [(method, f"/v4/s/{path}")])
    assert {"Prefer", "Callback-URL"}.isdisjoint(sent[0].headers)
    bound.driver.answers = (answer(200, ENDED),)  # type: ignore[attr-defined]
    assert job.wait() == value
    assert sent[-1].headers["Prefer"] == "wait=6"  # The client's own time limit.


_CHOSEN: dict[str, Any] = {"where": {"size_used": ">1kB"}, "sort": "-name", "fields": "name, size_used"}
_QUERY = (("size_used", ">1000"), ("sort", "-name"), ("fields", "name,size_used"))
READS: dict[str, tuple[Callable[..., Any], str, bool]] = {
    "volumes": (lambda f, **more: Volumes(f, "s").list(**more), "/v4/s/volumes", True),
    "restricted": (lambda f, fresh, **more: Volumes(f, "s").restricted(**more), "/v4/s/restricted", True),
    "snapshots": (lambda f, **more: Volumes(f, "s").snapshots("v", **more), "/v4/s/volumes/v/snapshots", True),
    "policies": (lambda f, **more: Policies(f, "s").list(**more), "/v4/s/export", True),
    "volume": (lambda f, fresh: Volumes(f, "s").get("v", fresh=fresh), "/v4/s/volumes/v", False),
    "snapshot": (
        lambda f, fresh: Volumes(f, "s").get_snapshot("v", "x", fresh=fresh), "/v4/s/volumes/v/snapshots/x", False,
    ),
    "policy": (lambda f, fresh: Policies(f, "s").get("p", fresh=fresh), "/v4/s/export/p", False),
}  # fmt: skip


@pytest.mark.parametrize("what", READS)
def test_each_read(what: str) -> None:
    call, path, is_listing = READS[what]
    more = {**_CHOSEN, "limit": 3} if is_listing else {}
    for fresh in (False, True):
        bound, sent = executor(answer(200, [{"name": "a"}] if is_listing else {"name": "a"}))
        value = call(bound, fresh=fresh, **more)
        names = [record.name for record in value] if is_listing else [value.name]
        assert names == ["a"]
        assert (sent[0].path, sent[0].query) == (path, (*_QUERY, ("limit", "3")) if is_listing else ())
        is_forced = sent[0].headers.get("Cache-Control") == "no-cache"
        assert is_forced is (fresh and what != "restricted")
        assert sent[0].headers["Prefer"] == "wait=6"


def test_locks_are_listed() -> None:
    bound, sent = executor(answer(200, [{"host": "h"}]))
    assert [lock.host for lock in Volumes(bound, "s").locks("v", fresh=True)] == ["h"]
    assert (sent[0].path, sent[0].headers["Cache-Control"]) == ("/v4/s/volumes/v/locks", "no-cache")


class TestJobs:
    """A job is read by its id, within the client's time limit."""

    def test_each_request_about_one_job(self) -> None:
        for call, method, path in (
            (lambda jobs: jobs.get("1"), "GET", "/v4/jobs/1"),
            (lambda jobs: jobs.cancel("1"), "POST", "/v4/jobs/1/cancel"),
            (lambda jobs: jobs.settle("1", "failed"), "POST", "/v4/jobs/1/settle"),
            (lambda jobs: jobs.retry("1"), "POST", "/v4/jobs/1/retry"),
        ):
            bound, sent = executor(answer(200, JOB))
            assert call(Jobs(bound)).id == "1"  # type: ignore[no-untyped-call]
            assert [(one.method, one.path) for one in sent] == [(method, path)]

    def test_each_method_of_a_job(self) -> None:
        bound, sent = executor(answer(200, JOB | {"id": "2"}))
        job: Job[Any] = Job.bound(JobRecord.of(JOB), bound)
        assert [job.refresh().id, job.cancel().id, job.retry().id] == ["2"] * 3
        assert [one.path for one in sent] == ["/v4/jobs/1", "/v4/jobs/1/cancel", "/v4/jobs/1/retry"]
        bound.driver.answers = (answer(200, ENDED),)  # type: ignore[attr-defined]
        assert job.ended().state == "succeeded"

    def test_each_request_about_several_jobs(self) -> None:
        bound, sent = executor(answer(200, [JOB]))
        assert [job.id for job in Jobs(bound).list(all=True, state="failed", limit=5)] == ["1"]
        assert sent[0].query == (("all", "true"), ("state", "failed"), ("limit", "5"))
        for what, name in (("cancel", "cancelled"), ("retry", "retried")):
            bound, sent = executor(answer(200, {name: ["1"]}))
            assert getattr(Jobs(bound), f"{what}_all")(volume="v").done == ("1",)
            assert (sent[0].path, sent[0].body) == (f"/v4/jobs/{what}", {"volume": "v"})


class TestBatches:
    """Submitted at the end of the block, unless it raised an exception."""

    def batch(self, *answers: Any, wait: bool) -> tuple[Batch, list[Any]]:
        bound, sent = executor(*answers)
        return Batch(bound, "b", "stop", 2, {"idempotency_key": "k"}, wait=wait), sent

    def test_a_batch_without_waiting(self) -> None:
        batch, sent = self.batch(answer(202, JOB), wait=False)
        with batch:
            batch.restrict("s", "v")
            assert sent == []
        assert batch.job is not None
        assert (batch.job.id, sent[0].path, sent[0].headers["Idempotency-Key"]) == ("1", "/v4/batches", "k")
        assert sent[0].body["requests"] == [{"method": "DELETE", "path": "/v4/s/volumes/v"}]

    def test_an_empty_or_failed_block_sends_nothing(self) -> None:
        batch, sent = self.batch(wait=False)
        with batch:
            pass
        with pytest.raises(ZeroDivisionError), batch:
            batch.restrict("s", "v")
            _ = 1 / 0
        assert (batch.job, sent) == (None, [])

    def test_a_snapshot_of_each_matching_volume(self) -> None:
        ended = JOB | {"state": "succeeded", "done": True}
        bound, sent = executor(answer(202, JOB), answer(200, ended), answer(200, [{"job": "2", "status": 201}]))
        options: Any = {"purge_old_if_needed": True, "on_failure": "stop"}
        (member,) = Volumes(bound, "s").snapshot_each("x", where={"name": "a*"}, **options)
        assert member.status == 201
        assert sent[0].body == {
            "for_each": {"subsystem": "s", "where": "name=a*"},
            "request": {
                "method": "POST", "path": "/v4/s/volumes/{name}/snapshots/x", "body": {"purge_old_if_needed": True},
            },
            "on_failure": "stop",
        }  # fmt: skip
