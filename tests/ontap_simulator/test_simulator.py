"""The simulator answers as ONTAP does where the driver, or a test, relies on it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests
from netapp_ontap.error import NetAppRestError
from netapp_ontap.host_connection import HostConnection
from netapp_ontap.resources.snapshot import Snapshot
from netapp_ontap.resources.volume import Volume
from requests.auth import HTTPBasicAuth

from tests.ontap_simulator import Simulator
from tests.ontap_simulator.queries import matches


@pytest.fixture
def ontap() -> Iterator[Simulator]:
    simulator = Simulator().start()
    for number in range(5):
        simulator.world.add_volume(f"v{number}", nas={"path": f"/v{number}"})
    yield simulator
    simulator.close()


def ask(ontap: Simulator, path: str, method: str = "GET", user: str = "storage-api", **more: Any) -> Any:
    password, _ = ontap.accounts[user]
    url = f"http://127.0.0.1:{ontap.port}/api{path}"
    return requests.request(method, url, auth=HTTPBasicAuth(user.encode(), password.encode()), timeout=10, **more)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("a", [1]),
        ("*", [1, 2, 3]),
        ("b*", [2, 3]),
        ('"b*"', []),
        ("{b*}", []),
        ("a|b.c", [1, 2]),
        ("!a", [2, 3, 4]),
        ("!a|a", [1, 2, 3, 4]),
        ("a..b", [1]),
        ('"b..d"', [3]),
        ("null", [4]),
        (">a", [2, 3]),
    ],
)
def test_operators_are_part_of_the_values(expression: str, expected: list[int]) -> None:
    records: list[Any] = [{"id": 1, "n": "a"}, {"id": 2, "n": "b.c"}, {"id": 3, "n": "b..d"}, {"id": 4}]

    assert [record["id"] for record in records if matches(record, {"n": expression})] == expected


def test_names_match_items_of_lists() -> None:
    assert matches({"aggregates": [{"name": "a"}, {"name": "b"}]}, {"aggregates.name": "b"})


def test_a_collection_has_few_fields_by_default(ontap: Simulator) -> None:
    volume = ask(ontap, "/storage/volumes?name=v1").json()["records"][0]
    assert set(volume) == {"uuid", "name", "_links"}
    volume = ask(ontap, "/storage/volumes?name=v1&fields=*").json()["records"][0]
    assert "size" in volume
    assert "path" not in volume["nas"]
    volume = ask(ontap, "/storage/volumes?name=v1&state=online&fields=nas.path").json()["records"][0]
    assert (volume["nas"], volume["state"]) == ({"path": "/v1"}, "online")


def test_pages_are_linked(ontap: Simulator) -> None:
    names, path = [], "/storage/volumes?fields=name&max_records=2"
    while path:
        page = ask(ontap, path).json()
        names += [record["name"] for record in page["records"]]
        path = page["_links"].get("next", {}).get("href", "").removeprefix("/api")

    assert names == ["v0", "v1", "v2", "v3", "v4"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/storage/volumes?bogus=1", None, 400, "262179"),
        ("GET", "/storage/volumes?fields=bogus", None, 400, "262197"),
        ("GET", "/storage/volumes/none", None, 404, "4"),
        ("PUT", "/storage/volumes", None, 405, "3"),
        ("DELETE", "/storage/volumes", None, 405, "3"),
        ("POST", "/storage/volumes", {"name": "x", "bogus": 1}, 400, "262179"),
        ("POST", "/storage/volumes", {"name": "x", "create_time": "now"}, 400, "262196"),
        ("POST", "/storage/volumes", {"name": "x"}, 400, "2621707"),
        ("POST", "/storage/volumes?return_timeout=600", {"name": "x", "svm": {"name": "vs1"}}, 400, "262197"),
        ("PATCH", "/storage/volumes/none", {}, 400, "262190"),
        ("PATCH", "/storage/volumes/none", {"flash_pool": {"caching_policy": "all"}}, 400, "262196"),
        ("PATCH", "/storage/volumes/none", {"state": "asleep"}, 400, "262197"),
        ("PATCH", "/storage/volumes/none?return_timeout=5", {"state": "online"}, 404, "4"),
    ],
)
def test_each_refused_request(method: str, path: str, body: Any, status: int, code: str, ontap: Simulator) -> None:
    answer = ask(ontap, path, method, json=body)

    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_a_change_is_a_job_that_ends_and_expires(ontap: Simulator) -> None:
    uuid = next(iter(ontap.world.volumes))
    answer = ask(ontap, f"/storage/volumes/{uuid}", "PATCH", json={"size": 2**30})
    job = answer.json()["job"]
    assert answer.status_code == 202

    assert ask(ontap, f"/cluster/jobs/{job['uuid']}").json()["state"] == "success"
    assert [effect.what for effect in ontap.world.effects] == [{"size": 2**30}]
    ontap.world.job_keep_seconds = 0.0
    assert ask(ontap, f"/cluster/jobs/{job['uuid']}").status_code == 404


def test_accounts_see_their_own_vserver(ontap: Simulator) -> None:
    ontap.world.add_volume("theirs", svm="vs2")

    assert ask(ontap, "/storage/volumes").json()["num_records"] == 6
    assert ask(ontap, "/storage/volumes", user="vsadmin").json()["num_records"] == 5
    assert ask(ontap, "/storage/aggregates", user="vsadmin").json()["error"]["code"] == "6"
    assert requests.get(f"http://127.0.0.1:{ontap.port}/api/cluster/jobs", timeout=10).status_code == 401


def test_netapp_ontap_works_with_the_simulator(ontap: Simulator) -> None:
    password, vserver = ontap.accounts["vsadmin"]
    with HostConnection(
        "127.0.0.1", "vsadmin", password, port=ontap.port, scheme="http", poll_interval=1, poll_timeout=5
    ):
        volume: Any = Volume(name="made", svm={"name": vserver}, aggregates=[{"name": "aggr1_n1"}], size=2**30)
        volume.post(hydrate=True)
        volume.comment = "by hand"
        volume.patch()
        Snapshot(volume.uuid, name="before").post()

        assert [record.name for record in Volume.get_collection(name="v*|made", fields="size")][-1] == "made"
        again: Any = Volume.find(name="made")
        assert again.comment == "by hand"
        assert [record.name for record in Snapshot.get_collection(volume.uuid)] == ["before"]
        with pytest.raises(NetAppRestError) as refusal:
            Volume(name="made", svm={"name": vserver}, aggregates=[{"name": "aggr1_n1"}]).post()
        assert "Duplicate volume name" in str(refusal.value)
