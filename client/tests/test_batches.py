"""Batches, with the package and from files."""

from __future__ import annotations

import asyncio
import json

import pytest
from tests.e2e.own_stack import PASSWORD, USER

from proxy import proxied
from storage_api_client import AsyncClient, BatchFailed, Client, Refused
from storage_api_client.operations.batch_files import OPERATIONS, OrderError, from_rows, order_of

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(100)]

BASIC = (USER, PASSWORD)


def test_a_batch_is_submitted_at_the_end_of_its_block(api, volume):
    with api.batch("patch-day") as batch:
        batch.snapshot("dummy", volume, "pre")
        batch.update("dummy", volume, size_total="2GiB")
        batch.create("dummy", f"{volume}_new", size_total="1GiB")
        batch.lock("dummy", volume, "h.example.org")
        batch.create_policy("dummy", volume, ("10.0.0.0/8",))
        batch.add_rule("dummy", volume, "*.example.org")
        batch.remove_rule("dummy", volume, "10.0.0.0/8")
    assert [result.status for result in batch.results] == [201, 200, 201, 201, 201, 201, 204]
    assert batch.job is not None
    jobs = list(api.jobs.list(batch=batch.job.id))
    assert len(jobs) == 7
    assert api.subsystem("dummy").policies.get(volume).rules == ("*.example.org",)


def test_failures_are_reported_for_each_member(api, volume):
    with pytest.raises(BatchFailed) as failed, api.batch(on_failure="continue") as batch:
        batch.snapshot("dummy", volume, "a")
        batch.snapshot("dummy", volume, "a")
    assert [result.succeeded for result in failed.value.results] == [True, False]
    problem, job = failed.value.results[1].problem, failed.value.job
    assert problem is not None
    assert problem.code == "already-exists"
    assert job is not None
    assert job.children is not None
    assert job.children.failed == 1


def test_a_batch_with_an_error_is_refused_as_a_whole(api, volume):
    with pytest.raises(Refused) as refused, api.batch() as batch:
        batch.snapshot("dummy", volume, "a")
        batch.snapshot("dummy", volume, "b a d")
    assert refused.value.errors[0].pointer.startswith("/requests/1")
    assert list(api.subsystem("dummy").volumes.snapshots(volume)) == []


def test_an_exception_in_the_block_submits_nothing(api, volume):
    with pytest.raises(ZeroDivisionError), api.batch() as batch:
        batch.snapshot("dummy", volume, "a")
        _ = 1 / 0
    assert batch.job is None
    assert list(api.subsystem("dummy").volumes.snapshots(volume)) == []


def test_a_batch_whose_answer_is_lost_is_one_batch(stack, api, volume):
    with proxied(stack.url) as proxy, Client(proxy.url, basic=BASIC, timeout=30) as client:
        proxy.lose = 2
        with client.batch("lossy") as batch:
            batch.snapshot("dummy", volume, "a")
    assert [result.status for result in batch.results] == [201]
    assert len([job for job in api.jobs.list(operation="batch") if job.request.get("name") == "lossy"]) == 1


def test_a_batch_is_cancelled_and_retried(api, name):
    with api.batch(parallel=1, wait=False) as batch:
        for number in range(4):
            batch.create("slow", f"{name}_{number}")
    assert batch.job is not None
    batch.job.cancel()
    with pytest.raises(BatchFailed):
        api.batch_results(batch.job.id)
    again = batch.job.retry()
    assert all(result.succeeded for result in api.batch_results(again.id))


def test_the_asynchronous_client_has_batches_too(stack, volume):
    async def run() -> list[int]:
        async with AsyncClient(stack.url, basic=BASIC, timeout=30) as client:
            async with client.batch() as batch:
                batch.snapshot("dummy", volume, "a")
            return [result.status for result in batch.results]

    assert asyncio.run(run()) == [201]


def test_a_snapshot_of_each_volume_that_meets_a_condition(cli, api, name):
    volumes = api.subsystem("dummy").volumes
    for number in range(3):
        volumes.create(f"{name}_{number}", size_total=f"{number + 1}GiB")
    made = cli(
        "snapshot", "create", "dummy", "--where", f"name={name}*", "--where", "size_total=>1GiB", "pre", "-o", "json"
    )
    assert made.status == 0, made.err
    assert [member["status"] for member in made.json] == [201, 201]
    assert list(volumes.snapshots(f"{name}_0")) == []
    assert [snapshot.name for snapshot in volumes.snapshots(f"{name}_2")] == ["pre"]
    none = cli("snapshot", "create", "dummy", "--where", "name=none_of_this", "pre")
    assert none.status == 1


YAML = """
name: from-yaml
requests:
  - {operation: create_snapshot, subsystem: dummy, volume: VOLUME, name: one}
  - {method: POST, path: /v4/dummy/volumes/VOLUME/snapshots/two, body: {}}
"""
CSV = """operation,subsystem,volume,name,size_total,comment
create_snapshot,dummy,VOLUME,one,,
update_volume,dummy,VOLUME,,2GiB,0755
create_snapshot,dummy,VOLUME,two,,
"""
LIST = [
    {"operation": "create_snapshot", "subsystem": "dummy", "volume": "VOLUME", "name": name} for name in ("one", "two")
]


@pytest.mark.parametrize(
    ("file", "text"),
    [("order.yaml", YAML), ("order.csv", CSV), ("order.json", json.dumps(LIST))],
    ids=["yaml", "csv", "json"],
)
def test_a_batch_from_a_file(cli, api, volume, file, text):
    (cli.home / file).write_text(text.replace("VOLUME", volume))
    done = cli("batch", "run", str(cli.home / file), "-o", "json")
    assert done.status == 0, done.err
    assert {member["status"] for member in done.json} <= {200, 201}
    assert sorted(snapshot.name for snapshot in api.subsystem("dummy").volumes.snapshots(volume)) == ["one", "two"]


def test_a_batch_is_followed_later(cli, volume):
    (cli.home / "order.csv").write_text(CSV.replace("VOLUME", volume))
    batch = cli("batch", "run", str(cli.home / "order.csv"), "--no-wait").out.strip()
    waited = cli("batch", "wait", batch, "-o", "json")
    assert (waited.status, len(waited.json)) == (0, 3)
    members = cli("batch", "show", batch, "-o", "json")
    assert {job["state"] for job in members.json} == {"succeeded"}
    assert cli("batch", "retry", batch).status == 1


def test_a_batch_that_fails_shows_its_members_and_ends_with_1(cli, volume):
    text = "operation,subsystem,volume,name\n" + f"create_snapshot,dummy,{volume},a\n" * 2
    (cli.home / "order.csv").write_text(text)
    failed = cli("batch", "run", str(cli.home / "order.csv"), "-o", "json")
    assert (failed.status, [member["status"] for member in failed.json]) == (1, [201, 409])
    assert "already" in failed.err


@pytest.mark.parametrize("text", ["", "just words", "{requests: 5}", "[5]", "[{operation: destroy}]", "{a: b", "[]x",
                                  "[{operation: create_snapshot, subsystem: dummy}]"])  # fmt: skip
def test_2_a_file_without_valid_members(cli, text):
    (cli.home / "order.yaml").write_text(text)
    wrong = cli("batch", "run", str(cli.home / "order.yaml"))
    assert (wrong.status, wrong.out) == (2, ""), wrong.err


def test_every_change_may_be_a_member():
    arguments = {"subsystem": "s", "volume": "v", "name": "n", "host": "h", "policy": "p", "rule": "r", "to": "t",
             "from_volume": "w", "from_snapshot": "x", "size_total": "1GiB"}  # fmt: skip
    for name in OPERATIONS:
        needed = {
            key: value
            for key, value in arguments.items()
            if key in OPERATIONS[name].__code__.co_varnames or (key == "size_total" and name == "update_volume")
        }
        [member] = order_of([{"operation": name, **needed}])["requests"]
        assert member["path"].startswith("/v4/s/")


def test_one_text_is_no_list_of_rules():
    member = {"operation": "create_policy", "subsystem": "s", "policy": "p", "rules": "10.0.0.0/8"}
    with pytest.raises(OrderError, match=r"Request 1: rules must be a list, as in \['10.0.0.0/8'\], not a string"):
        order_of([{**member, "rules": ["10.0.0.0/8"]}, member])


def test_cells_have_the_types_of_their_fields():
    [request] = from_rows([{"operation": "create_volume", "subsystem": "s", "volume": "v", "size_total": "5GiB",
                            "autosize_enabled": "true", "percentage_snapshot_reserve": "20", "unix_permissions": "0755",
                            "comment": ""}])["requests"]  # fmt: skip
    assert request["body"] == {"size_total": 5 * 2**30, "autosize_enabled": True, "percentage_snapshot_reserve": 20,
                               "unix_permissions": "0755"}  # fmt: skip
    policy = {"operation": "create_policy", "subsystem": "s", "policy": "p", "rules": " 10.0.0.0/8  host "}
    member = {"method": "POST", "path": "/v4/s/volumes/v", "body": '{"size_total": 5}'}
    roll_back = {"operation": "roll_back_volume", "subsystem": "s", "volume": "v", "from_snapshot": "pre"}
    requests = from_rows([policy, member, roll_back])["requests"]
    bodies = [{"rules": ["10.0.0.0/8", "host"]}, {"size_total": 5}, {"from_snapshot": "pre"}]
    assert [request["body"] for request in requests] == bodies
    with pytest.raises(OrderError, match="Request 0"):
        from_rows([{"operation": "create_volume", "subsystem": "s", "volume": "v", "size_total": "much"}])
