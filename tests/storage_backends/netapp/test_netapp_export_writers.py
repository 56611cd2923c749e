"""Export rules while others change the same policy."""

from __future__ import annotations

import re
from typing import Any

import pytest

from storage_backends.base import Outcome, StorageBackend
from storage_backends.errors import BackendUnavailable, NoSuchPolicy, OutcomeUnclear
from storage_backends.netapp.operations import mutation
from tests.ontap_simulator import Kind, Simulator
from tests.ontap_simulator.exchange import Request
from tests.ontap_simulator.protocols import insert_rule
from tests.ontap_simulator.world import full_rule
from tests.storage_backends.netapp.concurrent_changes import before_each, show_late
from tests.storage_backends.netapp.journals import clients, journal
from tests.storage_backends.netapp.lost_changes import reconciled


@pytest.fixture
def policy(ontap: Simulator) -> dict[str, Any]:
    return ontap.world.add_policy("vs1", "team", [["a"], ["b"], ["c"]])


class TestOthersChangeIt:
    """No rule of another client is changed, whatever its index."""

    @pytest.fixture
    def moving(self, ontap: Simulator, policy: dict[str, Any]) -> list[str]:
        """Another client inserts a rule between our read and our change."""
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
    def test_a_rule_that_moved_is_removed(
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
    def test_a_client_of_a_rule_that_moved_is_removed(
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

    def test_without_requests_by_client_rules_are_removed_by_index_and_checked(
        self, ontap: Simulator, backend: StorageBackend, policy: dict[str, Any]
    ) -> None:
        ontap.world.rule_requests = frozenset()
        policy["rules"].append(full_rule(4, ["a", "d"]))

        assert backend.ensure_policy_rule_absent("team", "a", journal=journal()).rules == ("b", "c", "d")
        assert clients(policy) == [["b"], ["c"], ["d"]]

    def test_a_rule_removed_by_accident_is_reported(
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

    def test_a_rule_removed_by_others_meanwhile_is_no_accident(
        self, ontap: Simulator, backend: StorageBackend, policy: dict[str, Any]
    ) -> None:
        ontap.world.rule_requests = frozenset()

        def removing(request: Request) -> None:
            if request.method == "DELETE" and request.path.endswith("/rules/1"):
                policy["rules"] = [rule for rule in policy["rules"] if rule["index"] != 3]

        before_each(ontap, removing)
        assert backend.ensure_policy_rule_absent("team", "a", journal=journal()).rules == ("b",)

    def test_a_rule_removed_by_others_between_two_of_ours_is_no_accident(
        self, ontap: Simulator, backend: StorageBackend, policy: dict[str, Any]
    ) -> None:
        policy["rules"].append(full_rule(4, ["a"]))

        def removing(request: Request) -> None:
            if request.method == "DELETE":
                policy["rules"] = [rule for rule in policy["rules"] if rule["index"] != 2]

        before_each(ontap, removing)
        assert backend.ensure_policy_rule_absent("team", "a", journal=journal()).rules == ("c",)

    def test_a_rule_that_moved_up_meanwhile_is_no_accident_of_ours(
        self, ontap: Simulator, backend: StorageBackend, policy: dict[str, Any]
    ) -> None:
        ontap.world.rule_requests = frozenset()

        def removing(request: Request) -> None:
            if request.method == "DELETE" and request.path.endswith("/rules/3"):
                policy["rules"] = [full_rule(1, ["b"]), full_rule(2, ["c"])]

        before_each(ontap, removing)
        assert backend.ensure_policy_rule_absent("team", "c", journal=journal()).rules == ("b",)

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

    def test_a_rule_made_by_another_client_meanwhile_is_read_again(
        self, ontap: Simulator, backend: StorageBackend, policy: dict[str, Any]
    ) -> None:
        def faster(request: Request) -> None:
            if request.method == "POST":
                insert_rule(policy, full_rule(4, ["h"]))
                ontap.fault(Kind.DROP, method="GET", times=3)

        before_each(ontap, faster)
        lost, arguments = journal(), {"policy": "team", "rule": "h"}
        with pytest.raises(OutcomeUnclear):
            backend.ensure_policy_rule_present(**arguments, journal=lost)

        assert reconciled(backend, lost, "ensure_policy_rule_present", arguments).outcome is Outcome.DONE

    def test_a_policy_that_goes_with_its_rule_is_missing_at_once(
        self, ontap: Simulator, backend: StorageBackend, policy: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def gone(request: Request) -> None:
            if request.method == "GET" and ontap.changes_sent():
                ontap.world.policies.pop(policy["id"], None)

        before_each(ontap, gone)
        monkeypatch.setattr(mutation, "VISIBLE_S", 0.0)
        with pytest.raises(NoSuchPolicy):
            backend.ensure_policy_rule_absent("team", "b", journal=journal())

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

    def test_a_policy_that_is_lost_with_its_vserver_is_not_reported_as_missing(
        self, ontap: Simulator, backend: StorageBackend, policy: dict[str, Any]
    ) -> None:
        def lost(request: Request) -> None:
            if request.path.endswith("/rules"):
                ontap.world.policies.pop(policy["id"], None)
                ontap.world.vservers["vs1"] = "stopped"

        before_each(ontap, lost)
        with pytest.raises(BackendUnavailable):
            backend.get_policy("team", journal=journal())

    @pytest.mark.parametrize(("cut", "outcome"), [(Kind.DROP, Outcome.NOT_DONE), (Kind.DROP_AFTER, Outcome.DONE)])
    @pytest.mark.parametrize(
        ("supported", "others", "request_of_removal"),
        [
            ({"query", "client"}, "xyz", "DELETE .*/clients/.*"),
            ({"query"}, "xyz", "PATCH .*/rules"),
            (set(), "xyz", r"PATCH .*/rules/\d+"),
            ({"query", "client"}, "", "DELETE .*/rules"),
            (set(), "", r"DELETE .*/rules/\d+"),
        ],
    )
    def test_the_second_of_three_removals_is_judged_by_its_own_count(
        self,
        supported: set[str],
        others: str,
        request_of_removal: str,
        cut: Kind,
        outcome: Outcome,
        ontap: Simulator,
        backend: StorageBackend,
        policy: dict[str, Any],
    ) -> None:
        ontap.world.rule_requests = frozenset(supported)
        policy["rules"] = [full_rule(index, ["h", *others[index - 1 : index]]) for index in (1, 2, 3)]
        method, _, path = request_of_removal.partition(" ")
        ontap.fault(cut, method=method, path=path, after=1)
        lost, arguments = journal(), {"policy": "team", "rule": "h"}
        with pytest.raises(OutcomeUnclear):
            backend.ensure_policy_rule_absent(**arguments, journal=lost)

        assert reconciled(backend, lost, "ensure_policy_rule_absent", arguments).outcome is outcome
        assert any("h" in rule for rule in clients(policy)) is (outcome is Outcome.NOT_DONE)

    def test_a_partial_removal_is_completed(
        self, ontap: Simulator, backend: StorageBackend, policy: dict[str, Any]
    ) -> None:
        policy["rules"] = [full_rule(1, ["h"]), full_rule(2, ["H", "x"]), full_rule(3, ["h", "y"])]
        ontap.fault(Kind.DROP_AFTER, method="DELETE", after=1)
        lost = journal()
        with pytest.raises(OutcomeUnclear):
            backend.ensure_policy_rule_absent("team", "h", journal=lost)
        assert len(clients(policy)) == 2

        result = reconciled(backend, lost, "ensure_policy_rule_absent", {"policy": "team", "rule": "H"})

        assert result.outcome is Outcome.DONE
        assert clients(policy) == [["x"], ["y"]]
