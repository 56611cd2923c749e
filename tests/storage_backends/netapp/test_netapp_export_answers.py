"""Three writers of one policy at a time, and malformed answers about its rules."""

from __future__ import annotations

import random
import threading
from typing import Any

import pytest
import requests
from requests.auth import HTTPBasicAuth

from storage_backends.base import StorageBackend
from storage_backends.errors import InvalidRequest, StorageError
from storage_backends.journal import InMemoryJournal
from storage_backends.models import ExportPolicy
from storage_backends.netapp.ontap import malformed_records
from tests.ontap_simulator import Kind, Simulator
from tests.ontap_simulator.exchange import Reply, Request
from tests.ontap_simulator.protocols import SHOWN_RULES
from tests.ontap_simulator.world import full_rule
from tests.storage_backends.netapp.concurrent_changes import after_each
from tests.storage_backends.netapp.journals import clients, journal
from tests.storage_backends.netapp.signed_in_drivers import USER, open_backend


@pytest.fixture
def policy(ontap: Simulator) -> dict[str, Any]:
    return ontap.world.add_policy("vs1", "team", [["a"], ["b"], ["c"]])


class _DirectWriter:
    """An administrator who works on the filer itself, bypassing the service."""

    def __init__(self, ontap: Simulator, number: int) -> None:
        password, _ = ontap.accounts[USER]
        self._auth = HTTPBasicAuth(USER.encode(), password.encode())
        self._url = f"http://127.0.0.1:{ontap.port}/api/protocols/nfs/export-policies/{number}/rules"

    def insert(self, client: str, index: int) -> None:
        body = full_rule(index, [client, f"{client}-too"], rw_rule=["krb5"])
        assert requests.post(self._url, json=body, auth=self._auth, timeout=10).status_code == 201

    def put(self, client: str, index: int) -> None:
        self.insert(client, index)

    def remove(self, client: str) -> None:
        query = {"clients.match": client}
        assert requests.delete(self._url, params=query, auth=self._auth, timeout=10).status_code == 200


class _DriverWriter:
    """One who changes the policy through the service's driver."""

    def __init__(self, ontap: Simulator) -> None:
        self._backend = open_backend(ontap)

    def put(self, client: str, _index: int) -> None:
        self._backend.ensure_policy_rule_present("shared", client, journal=journal())

    def remove(self, client: str) -> None:
        self._backend.ensure_policy_rule_absent("shared", client.upper(), journal=journal())


#: It held with 334 turns of each, too: a thousand steps.
TURNS = 100


class _Writer(threading.Thread):
    """Adds and removes rules of its own, and records which exist."""

    def __init__(self, name: str, hand: _DirectWriter | _DriverWriter) -> None:
        super().__init__()
        self._prefix, self._hand = name, hand
        self.present: set[str] = set()
        self.failure: BaseException | None = None

    def run(self) -> None:
        dice = random.Random(self._prefix)
        try:
            for _ in range(TURNS):
                client = f"{self._prefix}{dice.randrange(6)}"
                if client in self.present:
                    self._hand.remove(client)
                else:
                    self._hand.put(client, dice.choice((1, 2, 3, 10)))
                self.present ^= {client}
        except (StorageError, AssertionError, requests.RequestException) as failure:
            self.failure = failure


def test_concurrent_writers_keep_the_rules_of_each_other(ontap: Simulator) -> None:
    """Two through the driver, one on the filer itself, on one policy: each finds its own as it left it."""
    policy = ontap.world.add_policy("vs1", "shared", [["admin", "admin-2", "s0"], ["untouched"]])
    direct = _DirectWriter(ontap, policy["id"])
    writers = [_Writer("one", _DriverWriter(ontap)), _Writer("two", _DriverWriter(ontap)), _Writer("direct", direct)]
    for writer in writers:
        writer.start()
    _DriverWriter(ontap).remove("s0")
    for writer in writers:
        writer.join()

    assert [writer.failure for writer in writers] == [None, None, None]
    present = {client for writer in writers for client in writer.present}
    rules = clients(policy)
    assert ["admin", "admin-2"] in rules
    assert ["untouched"] in rules
    assert sorted(rule[0] for rule in rules) == sorted({"admin", "untouched"} | present)
    for rule in policy["rules"]:
        match = rule["clients"][0]["match"]
        if match.startswith("direct"):
            assert rule["rw_rule"] == ["krb5"]
            assert [client["match"] for client in rule["clients"]] == [match, f"{match}-too"]


@pytest.mark.parametrize(("status", "code"), [(404, 4), (405, 3), (400, 262179), (403, 6)])
def test_a_removal_that_is_always_refused_ends(
    status: int, code: int, ontap: Simulator, backend: StorageBackend, policy: dict[str, Any]
) -> None:
    ontap.fault(Kind.REFUSE, method="DELETE|PATCH", times=99, status=status, code=code)
    with pytest.raises(StorageError) as refusal:
        backend.ensure_policy_rule_absent("team", "a", journal=journal())
    assert refusal.value.backend_error is not None
    assert refusal.value.backend_error.code == str(code)
    assert len(ontap.changes_sent()) <= 4
    assert clients(policy) == [["a"], ["b"], ["c"]]


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, {"error": {"code": "4", "message": "entry doesn't exist"}}),
        (405, {"error": {"code": "3", "message": "not supported"}}),
        (400, {"error": {"code": "262179", "message": "Unexpected argument"}}),
        (200, {"num_records": 0}),
    ],
)
def test_a_removal_without_effect_is_tried_in_another_way(
    status: int, body: Any, ontap: Simulator, backend: StorageBackend, policy: dict[str, Any]
) -> None:
    handle = ontap.handle

    def refusing(request: Request) -> Reply:
        return Reply(status, body) if request.method == "DELETE" and "index" in request.query else handle(request)

    ontap.handle = refusing  # type: ignore[method-assign]
    assert backend.ensure_policy_rule_absent("team", "b", journal=journal()).rules == ("a", "c")
    assert clients(policy) == [["a"], ["c"]]


@pytest.mark.parametrize("listed", [{"index": 1}, "many"])
def test_rules_that_are_no_list_are_read_by_themselves(
    listed: Any, ontap: Simulator, backend: StorageBackend, policy: dict[str, Any]
) -> None:
    def odd(request: Request, reply: Reply) -> None:
        for record in reply.body.get("records", ()) if request.path.endswith("/export-policies") else ():
            record["rules"] = listed

    after_each(ontap, odd)
    assert ExportPolicy("team", ("a", "b", "c")) in backend.list_policies(journal=journal())


@pytest.mark.parametrize(
    ("name", "odd"),
    [
        ("index", {}), ("index", {"index": None}), ("index", {"index": "first"}),
        ("clients", {}), ("clients", {"clients": None}), ("clients", {"clients": "many"}),
    ],
)  # fmt: skip
def test_a_rule_without_index_or_clients_is_reported(
    name: str, odd: dict[str, Any], ontap: Simulator, backend: StorageBackend, policy: dict[str, Any],
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(malformed_records, "_reported", set())

    def remove_fields(request: Request, reply: Reply) -> None:
        for record in reply.body.get("records", ()) if request.path.endswith("/rules") else ():
            del record[name]
            record.update(odd)

    after_each(ontap, remove_fields)
    backend.get_policy("team", journal=journal())
    (line,) = [record.getMessage() for record in caplog.records if record.name == malformed_records.__name__]
    assert "export rule of policy 'team'" in line


@pytest.mark.parametrize("supported", [{"query", "client"}, set()], ids=len)
def test_a_rule_of_unknown_index_is_never_taken_for_another(
    supported: set[str], ontap: Simulator, backend: StorageBackend, policy: dict[str, Any]
) -> None:
    def without_index(request: Request, reply: Reply) -> None:
        if request.path.endswith("/rules"):
            del reply.body["records"][1]["index"]

    ontap.world.rule_requests = frozenset(supported)
    after_each(ontap, without_index)
    with pytest.raises(StorageError):
        backend.ensure_policy_rule_absent("team", "b", journal=journal())
    assert clients(policy) == [["a"], ["b"], ["c"]]
    assert ontap.world.effects == []


def test_policies_are_listed_by_one_request(ontap: Simulator, backend: StorageBackend, policy: dict[str, Any]) -> None:
    watched = InMemoryJournal()
    assert [listed.name for listed in backend.list_policies(journal=watched)] == ["default", "team"]
    assert watched.progress_calls == [(2, None, "policies", "listing export policies")]
    assert len(ontap.requests) == 1


def test_one_policy_alone_is_looked_up(ontap: Simulator, backend: StorageBackend, policy: dict[str, Any]) -> None:
    backend.get_policy("team", journal=journal())
    look_up, _ = ontap.requests
    assert ("name", "team") in look_up.query


def test_a_policy_without_an_id_is_listed_with_the_rules_of_its_record(
    ontap: Simulator, backend: StorageBackend, policy: dict[str, Any]
) -> None:
    def numberless(request: Request, reply: Reply) -> None:
        for record in reply.body["records"]:
            record |= {"are_rules_truncated": True, "id": None}

    after_each(ontap, numberless)
    assert ExportPolicy("team", ("a", "b", "c")) in backend.list_policies(journal=journal())
    # Nor is it missing.
    with pytest.raises(StorageError, match="number"):
        backend.get_policy("team", journal=journal())
    with pytest.raises(StorageError, match="number"):
        backend.create_policy("team", rules=["a"], journal=journal())
    assert ontap.changes_sent() == []


def test_a_policy_of_which_a_listing_shows_a_part_is_read_whole(ontap: Simulator, backend: StorageBackend) -> None:
    rules = {f"h{number}" for number in range(SHOWN_RULES + 2)}
    ontap.world.add_policy("vs1", "long", [[rule] for rule in rules])
    (listed,) = [policy for policy in backend.list_policies(journal=journal()) if policy.name == "long"]
    assert set(listed.rules) == rules


def test_an_empty_rule_is_refused_before_anything_is_sent(ontap: Simulator, backend: StorageBackend) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        backend.create_policy("team", rules=["h1", ""], journal=InMemoryJournal())

    assert [error.pointer for error in refusal.value.errors] == ["/rules"]
    assert ontap.changes_sent() == []


def test_a_policy_that_is_deleted_while_all_are_listed_is_left_out(ontap: Simulator) -> None:
    """Only some of its rules are listed, and it is deleted before the rest is read."""
    ontap.world.add_policy("vs1", "big", [[f"h{number}"] for number in range(SHOWN_RULES + 1)])
    ontap.world.add_policy("vs1", "team", [["a"]])
    ontap.fault(Kind.REFUSE, method="GET", path="/protocols/nfs/export-policies/.*/rules", status=404, code=4)

    listed = open_backend(ontap).list_policies(journal=journal())

    assert [policy.name for policy in listed if policy.name in {"big", "team"}] == ["team"]
