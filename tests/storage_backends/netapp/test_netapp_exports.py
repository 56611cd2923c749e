"""Export rules: what access they give, under every spelling, and while others change the same policy."""

from __future__ import annotations

import random
import re
import threading
from typing import Any

import pytest
import requests
from requests.auth import HTTPBasicAuth

from storage_backends.base import Outcome, StorageBackend
from storage_backends.errors import BackendUnavailable, InvalidRequest, OutcomeUnclear, ResourceBusy, StorageError
from storage_backends.journal import InMemoryJournal
from storage_backends.models import ExportPolicy, ExportRule
from storage_backends.netapp.ontap import odd_records
from storage_backends.netapp.operations.export_rules import rules_of
from storage_backends.netapp.operations.rule_removal import holders
from tests.ontap_simulator import Kind, Simulator
from tests.ontap_simulator.exchange import Reply, Request
from tests.ontap_simulator.protocols import SHOWN_RULES, insert_rule
from tests.ontap_simulator.world import full_rule
from tests.storage_backends.netapp.concurrent_changes import after_each, before_each, show_late
from tests.storage_backends.netapp.signed_in_drivers import USER, open_backend

RULES = "/protocols/nfs/export-policies/.*/rules.*"


def journal() -> InMemoryJournal:
    return InMemoryJournal()


def clients(policy: dict[str, Any]) -> list[list[str]]:
    """The clients of a simulated policy's rules, in the order of their indexes."""
    ordered = sorted(policy["rules"], key=lambda rule: rule["index"])
    return [[client["match"] for client in rule["clients"]] for rule in ordered]


@pytest.fixture
def policy(ontap: Simulator) -> dict[str, Any]:
    return ontap.world.add_policy("vs1", "team", [["a"], ["b"], ["c"]])


class TestAccess:
    """Present means that the client has the access that our rules give."""

    def test_the_rights_of_rules_are_shown(self, ontap: Simulator, backend: StorageBackend) -> None:
        team = ontap.world.add_policy("vs1", "team", [])
        team["rules"] = [full_rule(7, ["B"], ro_rule=["any"], rw_rule=["never"]), full_rule(2, ["a", "10.0.0.1/32"])]

        policy = backend.get_policy("team", journal=journal())

        assert policy.rules == ("a", "10.0.0.1", "b")
        assert policy.details == (
            ExportRule(2, ("a", "10.0.0.1"), ("sys",), ("sys",), ("sys",), ("nfs",)),
            ExportRule(7, ("b",), ("any",), ("never",), ("sys",), ("nfs",)),
        )
        assert policy.summary in backend.list_policies(journal=journal())  # Where the filer has them in no order.

    @pytest.mark.parametrize(
        "rights",
        [
            {"rw_rule": ["never"], "superuser": ["none"]},
            {"ro_rule": ["krb5"], "rw_rule": ["krb5"], "superuser": ["krb5"]},
            {"superuser": ["none"]},
            {"protocols": ["nfs3"]},
            {"protocols": ["any"], "rw_rule": ["never"]},
        ],
    )
    def test_a_rule_that_gives_less_is_named_and_left(
        self, rights: dict[str, Any], ontap: Simulator, backend: StorageBackend, policy: dict[str, Any]
    ) -> None:
        policy["rules"].append(full_rule(5, ["h"], **rights))

        with pytest.raises(ResourceBusy, match=r"Rule 5 \(h: ") as refusal:
            backend.ensure_policy_rule_present("team", "h", journal=journal())

        assert (refusal.value.retryable, refusal.value.transient) == (False, False)
        assert ontap.changes_sent() == []

    @pytest.mark.parametrize(
        ("wide", "narrow"),
        [("10.0.0.0/8", "10.1.2.3"), ("0.0.0.0/0", "h"), ("::/0", "h"), (".example.org", "h.example.org"),
         ("::/0", "2001:db8::1"), ("10.0.0.0/255.0.0.0", "10.1.0.0/16")],
    )  # fmt: skip
    def test_an_earlier_rule_that_shadows_it_is_named(
        self, wide: str, narrow: str, ontap: Simulator, backend: StorageBackend
    ) -> None:
        team = ontap.world.add_policy("vs1", "team", [])
        team["rules"] = [full_rule(1, [wide], rw_rule=["never"]), full_rule(2, ["other"])]
        with pytest.raises(ResourceBusy, match="Rule 1 "):
            backend.ensure_policy_rule_present("team", narrow, journal=journal())
        team["rules"][0]["protocols"] = []  # As if for all of them.
        team["rules"].append(full_rule(3, [narrow]))  # It is there, and never reached.
        with pytest.raises(ResourceBusy, match="Rule 1 "):
            backend.ensure_policy_rule_present("team", narrow, journal=journal())
        assert ontap.changes_sent() == []

    @pytest.mark.parametrize("other", [["cifs"], ["cifs", "flexcache"]])
    def test_a_rule_of_another_protocol_is_in_nobodys_way(
        self, other: list[str], ontap: Simulator, backend: StorageBackend
    ) -> None:
        team = ontap.world.add_policy("vs1", "team", [])
        team["rules"] = [full_rule(1, ["0.0.0.0/0"], rw_rule=["never"], protocols=other)]

        assert backend.ensure_policy_rule_present("team", "h", journal=journal()).rules == ("0.0.0.0/0", "h")

    @pytest.mark.parametrize(
        "rights",
        [
            {"rw_rule": ["any"]},
            {"rw_rule": ["krb5", "sys"]},
            {"protocols": ["any"]},
            {"superuser": []},
            {"protocols": []},
        ],
    )
    def test_a_rule_that_gives_as_much_is_enough(
        self, rights: dict[str, Any], ontap: Simulator, backend: StorageBackend, policy: dict[str, Any]
    ) -> None:
        policy["rules"].append(full_rule(5, ["h"], **rights))

        backend.ensure_policy_rule_present("team", "H", journal=journal())

        assert ontap.changes_sent() == []

    def test_a_wider_rule_that_gives_as_much_is_not_the_rule(self, ontap: Simulator, backend: StorageBackend) -> None:
        """It may go; what was asked for stays."""
        team = ontap.world.add_policy("vs1", "team", [["10.0.0.0/8"]])

        after = backend.ensure_policy_rule_present("team", "10.1.2.3", journal=journal())

        assert after.rules == ("10.0.0.0/8", "10.1.2.3")
        assert team["rules"][1] == full_rule(2, ["10.1.2.3"])

    def test_a_rule_that_denies_and_comes_meanwhile_is_told(
        self, ontap: Simulator, backend: StorageBackend, policy: dict[str, Any]
    ) -> None:
        handle = ontap.handle

        def intruding(request: Any) -> Any:
            if request.method == "POST":
                insert_rule(policy, full_rule(1, ["0.0.0.0/0"], ro_rule=["never"]))
            return handle(request)

        ontap.handle = intruding  # type: ignore[method-assign]
        with pytest.raises(ResourceBusy, match="Rule 1 "):
            backend.ensure_policy_rule_present("team", "h", journal=journal())


class TestSpellings:
    """Every spelling of a client is that client."""

    @pytest.mark.parametrize(
        ("there", "spelling"),
        [
            ("2001:db8::1", "2001:0DB8:0:0::0001"), ("2001:0db8::1", "2001:db8::1/128"),
            ("H.Example.ORG", "h.example.org"), ("10.0.0.1/32", "10.0.0.1"), ("*.Example.org", "*.example.ORG"),
            ("10.1.0.0/255.255.0.0", "10.1.2.3/16"), ("::ffff:192.0.2.1", "192.0.2.1"),
        ],
    )  # fmt: skip
    def test_a_rule_is_found_and_removed(
        self, there: str, spelling: str, ontap: Simulator, backend: StorageBackend
    ) -> None:
        team = ontap.world.add_policy("vs1", "team", [["x"], [there, "y"], [there]])
        rules = backend.get_policy("team", journal=journal()).rules
        assert len(rules) == 3

        assert backend.ensure_policy_rule_present("team", spelling, journal=journal()).rules == rules
        assert ontap.changes_sent() == []
        assert backend.ensure_policy_rule_absent("team", spelling, journal=journal()).rules == ("x", "y")
        assert clients(team) == [["x"], ["y"]]

    def test_what_is_made_is_canonical(self, ontap: Simulator, backend: StorageBackend) -> None:
        made = backend.create_policy(
            "team", journal=journal(), rules=["H", "h", "10.0.0.9/8", "10.0.0.0/255.0.0.0", "@Net", "@net", ".d", "*.d"]
        )
        assert made.rules == ("h", "10.0.0.0/8", "@Net", "@net", ".d", "*.d")

    @pytest.mark.parametrize(
        ("there", "spelling"), [("2001:0DB8::1", "2001:db8::1"), ("H1.example.org", "h1.EXAMPLE.org")]
    )
    def test_locks_too(self, there: str, spelling: str, ontap: Simulator, backend: StorageBackend) -> None:
        home = ontap.world.add_volume("home")
        ontap.world.add_lock(home, there)
        ontap.world.add_lock(home, "192.0.2.9")
        first, _ = backend.list_locks("home", journal=journal())
        assert first.host == spelling.lower()

        backend.remove_lock("home", spelling, journal=journal())

        assert [lock["client_address"] for lock in ontap.world.locks.values()] == ["192.0.2.9"]


def test_a_client_counts_in_each_of_its_spellings() -> None:
    rules = rules_of([full_rule(1, ["A", "a", "b"]), full_rule(2, ["b"]), full_rule(3, ["a"])], "team")
    assert [holders(rules, client) for client in ("a", "b", "c")] == [3, 2, 0]


class TestOthersChangeIt:
    """Nobody else's rule is touched, wherever it stands."""

    @pytest.fixture
    def moving(self, ontap: Simulator, policy: dict[str, Any]) -> list[str]:
        """Somebody puts a rule first between our look and our change."""
        put: list[str] = []
        handle = ontap.handle

        def intruding(request: Any) -> Any:
            if request.method in {"DELETE", "PATCH"} and not put:
                put.append("theirs")
                insert_rule(policy, full_rule(1, ["theirs"]))
            return handle(request)

        ontap.handle = intruding  # type: ignore[method-assign]
        return put

    @pytest.mark.parametrize(
        "supported", [{"query", "client"}, {"query"}, {"client"}], ids=lambda names: " ".join(sorted(names))
    )
    @pytest.mark.parametrize("client", ["a", "b", "c"])
    def test_a_rule_that_moved_is_found_again(
        self,
        client: str,
        supported: set[str],
        ontap: Simulator,
        backend: StorageBackend,
        policy: dict[str, Any],
        moving: list[str],
    ) -> None:
        ontap.world.rule_requests = frozenset(supported)
        after = backend.ensure_policy_rule_absent("team", client, journal=journal())

        expected = [rule for rule in ("theirs", "a", "b", "c") if rule != client]
        assert list(after.rules) == expected
        assert clients(policy) == [[rule] for rule in expected]
        assert moving

    @pytest.mark.parametrize(
        "supported", [{"query", "client"}, {"query"}, {"client"}], ids=lambda names: " ".join(sorted(names))
    )
    def test_a_client_of_a_rule_that_moved(
        self, supported: set[str], ontap: Simulator, backend: StorageBackend, policy: dict[str, Any], moving: list[str]
    ) -> None:
        ontap.world.rule_requests = frozenset(supported)
        policy["rules"] = [full_rule(1, ["a", "b"]), full_rule(2, ["b", "c", "d"])]

        backend.ensure_policy_rule_absent("team", "b", journal=journal())

        assert clients(policy) == [["theirs"], ["a"], ["c", "d"]]

    def test_a_client_that_was_added_meanwhile_stays(
        self, ontap: Simulator, backend: StorageBackend, policy: dict[str, Any]
    ) -> None:
        policy["rules"] = [full_rule(1, ["a", "b"])]
        handle = ontap.handle

        def intruding(request: Any) -> Any:
            if request.method in {"DELETE", "PATCH"}:
                policy["rules"][0]["clients"].append({"match": "theirs"})
            return handle(request)

        ontap.handle = intruding  # type: ignore[method-assign]
        backend.ensure_policy_rule_absent("team", "b", journal=journal())

        assert clients(policy) == [["a", "theirs"]]

    def test_a_filer_without_such_requests_is_asked_by_index_and_looked_at(
        self, ontap: Simulator, backend: StorageBackend, policy: dict[str, Any]
    ) -> None:
        ontap.world.rule_requests = frozenset()
        policy["rules"].append(full_rule(4, ["a", "d"]))

        assert backend.ensure_policy_rule_absent("team", "a", journal=journal()).rules == ("b", "c", "d")
        assert clients(policy) == [["b"], ["c"], ["d"]]

    def test_what_it_hit_there_by_accident_is_told(
        self, ontap: Simulator, backend: StorageBackend, policy: dict[str, Any]
    ) -> None:
        ontap.world.rule_requests = frozenset()
        handle = ontap.handle

        def intruding(request: Any) -> Any:
            if request.method == "DELETE" and request.path.endswith("/2"):
                insert_rule(policy, full_rule(1, ["theirs"]))
            return handle(request)

        ontap.handle = intruding  # type: ignore[method-assign]
        with pytest.raises(OutcomeUnclear, match=r": a\. Look"):
            backend.ensure_policy_rule_absent("team", "b", journal=journal())

    def test_what_somebody_else_removes_at_the_same_moment_is_not_taken_for_an_accident(
        self, ontap: Simulator, backend: StorageBackend, policy: dict[str, Any]
    ) -> None:
        ontap.world.rule_requests = frozenset()

        def removing(request: Request) -> None:
            if request.method == "DELETE" and request.path.endswith("/rules/1"):
                policy["rules"] = [rule for rule in policy["rules"] if rule["index"] != 3]

        before_each(ontap, removing)
        assert backend.ensure_policy_rule_absent("team", "a", journal=journal()).rules == ("b",)

    @pytest.mark.parametrize("times", [3, 999])
    def test_rules_that_move_all_the_time_are_never_removed_by_their_index(
        self, times: int, ontap: Simulator, backend: StorageBackend, policy: dict[str, Any]
    ) -> None:
        moves = iter(range(times))

        def moving(request: Request) -> None:
            if request.method == "DELETE" and next(moves, None) is not None:
                insert_rule(policy, full_rule(1, ["theirs"]))

        before_each(ontap, moving)
        if times == 3:
            assert "b" not in backend.ensure_policy_rule_absent("team", "b", journal=journal()).rules
        else:
            with pytest.raises(OutcomeUnclear, match="too fast"):
                backend.ensure_policy_rule_absent("team", "b", journal=journal())

        assert not any(re.search(r"/rules/\d+$", seen.path) for seen in ontap.changes_sent())
        assert all([client] in clients(policy) for client in ("a", "c"))

    @pytest.mark.parametrize("raced", [False, True])
    def test_a_rule_that_shows_late_is_waited_for(
        self, raced: bool, ontap: Simulator, backend: StorageBackend, policy: dict[str, Any]
    ) -> None:
        def faster(request: Request) -> None:
            if request.method == "POST" and raced:
                insert_rule(policy, full_rule(4, ["h"]))

        before_each(ontap, faster)
        stale = show_late(ontap, f"/protocols/nfs/export-policies/{policy['id']}/rules", after="POST")

        assert backend.ensure_policy_rule_present("team", "h", journal=journal()).rules == ("a", "b", "c", "h")
        assert stale

    def test_a_rule_that_goes_late_is_waited_for(
        self, ontap: Simulator, backend: StorageBackend, policy: dict[str, Any]
    ) -> None:
        stale = show_late(ontap, f"/protocols/nfs/export-policies/{policy['id']}/rules", after="DELETE")

        assert backend.ensure_policy_rule_absent("team", "b", journal=journal()).rules == ("a", "c")
        assert len(ontap.changes_sent()) == 1
        assert stale

    def test_a_policy_that_shows_late_is_waited_for(self, ontap: Simulator, backend: StorageBackend) -> None:
        stale = show_late(ontap, "/protocols/nfs/export-policies", after="POST")

        assert backend.create_policy("new", rules=["a"], journal=journal()).rules == ("a",)
        assert stale

    def test_a_policy_that_is_lost_with_its_vserver_is_not_told_as_missing(
        self, ontap: Simulator, backend: StorageBackend, policy: dict[str, Any]
    ) -> None:
        def lost(request: Request) -> None:
            if request.path.endswith("/rules"):
                ontap.world.policies.pop(policy["id"], None)
                ontap.world.vservers["vs1"] = "stopped"

        before_each(ontap, lost)
        with pytest.raises(BackendUnavailable):
            backend.get_policy("team", journal=journal())

    def test_a_removal_that_was_cut_in_half_is_completed(
        self, ontap: Simulator, backend: StorageBackend, policy: dict[str, Any]
    ) -> None:
        policy["rules"] = [full_rule(1, ["h"]), full_rule(2, ["H", "x"]), full_rule(3, ["h", "y"])]
        ontap.fault(Kind.DROP_AFTER, method="DELETE", after=1)
        lost = journal()
        with pytest.raises(OutcomeUnclear):
            backend.ensure_policy_rule_absent("team", "h", journal=lost)
        assert len(clients(policy)) == 2

        result = backend.reconcile(
            "ensure_policy_rule_absent",
            {"policy": "team", "rule": "H"},
            lost.state(age_s=3600.0),
            journal=InMemoryJournal(lost.job_id),
        )

        assert result.outcome is Outcome.DONE
        assert clients(policy) == [["x"], ["y"]]


class _Direct:
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


class _ByDriver:
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
    """Puts and removes rules of its own, and remembers which are there."""

    def __init__(self, name: str, hand: _Direct | _ByDriver) -> None:
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


def test_three_writers_lose_none_of_each_others_rules(ontap: Simulator) -> None:
    """Two through the driver, one on the filer itself, on one policy: each finds its own as it left it."""
    policy = ontap.world.add_policy("vs1", "shared", [["admin", "admin-2", "s0"], ["untouched"]])
    direct = _Direct(ontap, policy["id"])
    writers = [_Writer("one", _ByDriver(ontap)), _Writer("two", _ByDriver(ontap)), _Writer("direct", direct)]
    for writer in writers:
        writer.start()
    _ByDriver(ontap).remove("s0")
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
def test_a_filer_that_refuses_every_removal_is_not_asked_for_ever(
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
def test_a_removal_that_hit_nothing_is_tried_in_another_way(
    status: int, body: Any, ontap: Simulator, backend: StorageBackend, policy: dict[str, Any]
) -> None:
    handle = ontap.handle

    def refusing(request: Request) -> Reply:
        return Reply(status, body) if request.method == "DELETE" and "index" in request.query else handle(request)

    ontap.handle = refusing  # type: ignore[method-assign]
    assert backend.ensure_policy_rule_absent("team", "b", journal=journal()).rules == ("a", "c")
    assert clients(policy) == [["a"], ["c"]]


@pytest.mark.parametrize("shown", [{"index": 1}, "many"])
def test_rules_that_are_no_list_are_read_by_themselves(
    shown: Any, ontap: Simulator, backend: StorageBackend, policy: dict[str, Any]
) -> None:
    def odd(request: Request, reply: Reply) -> None:
        for record in reply.body.get("records", ()) if request.path.endswith("/export-policies") else ():
            record["rules"] = shown

    after_each(ontap, odd)
    assert ExportPolicy("team", ("a", "b", "c")) in backend.list_policies(journal=journal())


@pytest.mark.parametrize("odd", [{"index": None}, {"clients": None}, {"clients": "many"}, {"index": "first"}])
def test_a_rule_without_index_or_clients_is_reported(
    odd: dict[str, Any], ontap: Simulator, backend: StorageBackend, policy: dict[str, Any],
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(odd_records, "_reported", set())

    def spoil(request: Request, reply: Reply) -> None:
        for record in reply.body.get("records", ()) if request.path.endswith("/rules") else ():
            record.update(odd)

    after_each(ontap, spoil)
    backend.get_policy("team", journal=journal())
    (line,) = [record.getMessage() for record in caplog.records if record.name == odd_records.__name__]
    assert "export rule of policy 'team'" in line


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
