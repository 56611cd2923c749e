"""The forms of volumes: what they ask for, what they confirm, and that none is sent twice."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.api.front_end import FrontEnd, accepted
from worker.catalog.operations import Role

_VOLUMES = "/console/filer/volumes"


class TestRollBack:
    _FORM = "/console/filer/volume-actions/roll-back/db01"

    @pytest.mark.parametrize("named", ["", "?from_snapshot=", "?from_snapshot=gone"])
    def test_a_snapshot_is_chosen_first(self, client, filled, named):
        page = client.get(f"{self._FORM}{named}").text
        assert f'href="{self._FORM}?from_snapshot=first"' in page
        assert '<form class="form' not in page

    def test_a_later_snapshot_that_was_not_listed_stops_the_roll_back(self, client, worker, filled):
        fields: dict[str, Any] = {"from_snapshot": "first", "later": "second", "confirm": "db01"}
        worker.carry_out(accepted(client.post("/v4/filer/volumes/db01/snapshots/third", json={})))
        refused = client.post(self._FORM, data=fields)
        assert refused.status_code == 422
        assert "other later snapshots" in refused.text
        assert "third" in refused.text
        # Neither one that has gone since, nor another order.
        for later in ("second third fourth", "third second"):
            assert client.post(self._FORM, data=fields | {"later": later}).status_code == 422
        assert client.post(self._FORM, data=fields | {"later": "second third"}).status_code == 303

    def test_each_later_snapshot_is_listed(self, client, worker, filled):
        later = ["second", *(f"s{number:02}" for number in range(9))]
        for name in later[1:]:
            worker.carry_out(accepted(client.post(f"/v4/filer/volumes/db01/snapshots/{name}", json={})))
        page = client.get(f"{self._FORM}?from_snapshot=first").text
        assert re.findall(r'<li class="break">([^<]+)</li>', page) == later
        assert re.findall(r'name="later" value="([^"]*)"', page) == [" ".join(later)]

    def test_later_snapshots_are_not_listed_while_they_are_unknown(self, client, front_end, filled, no_wait):
        front_end.services.redis.delete(*front_end.services.redis.keys("sapi:listing:*snapshots*"))
        answer = client.get(f"{self._FORM}?from_snapshot=first")
        assert answer.status_code == 202
        assert "No later snapshot" not in answer.text


def test_a_form_changes_only_what_was_changed_in_it(client, filled):
    fields = {
        "size_total": "2GiB",
        "was-size_total": "1.00 GiB",
        "caching_policy": "auto",
        "was-caching_policy": "auto",
    }
    job = client.post("/console/filer/volume-actions/change/db01", data=fields).headers["Location"].rpartition("/")[2]
    assert client.get(f"/v4/jobs/{job}").json["request"] == {"volume": "db01", "size_total": 2**31}


def test_rules_are_added_and_removed_and_a_policy_deleted(client, worker, filled):
    made = client.post("/console/filer/new-policy", data={"name": "dbs", "rules": "10.0.0.0/24 @dbas"})
    worker.carry_out(made.headers["Location"])
    worker.carry_out(client.post("/console/filer/policy-actions/add-rule/dbs", data={"rule": "h1"}).headers["Location"])
    worker.carry_out(
        client.post("/console/filer/policy-actions/remove-rule/dbs", data={"rule": "10.0.0.0/24"}).headers["Location"]
    )
    worker.carry_out(accepted(client.get("/v4/filer/export/dbs", headers={"Prefer": "respond-async"})))
    page = client.get("/console/filer/export/dbs").text
    assert re.findall(r'name="rule" value="([^"]+)"', page) == ["@dbas", "h1"]
    assert client.post("/console/filer/policy-actions/add-rule/dbs", data={"rule": "no good"}).status_code == 422
    assert client.post("/console/filer/policy-actions/delete/dbs", data={"confirm": "db"}).status_code == 422
    assert client.post("/console/filer/policy-actions/delete/dbs", data={"confirm": "dbs"}).status_code == 303


def test_locks_and_snapshots_are_removed_by_forms(client, filled):
    unlock = client.post("/console/filer/volume-actions/unlock/db01", data={"host": "host1.example.org"})
    delete = client.post("/console/filer/volume-actions/delete-snapshot/db01", data={"name": "first"})
    jobs = [client.get(answer.headers["Location"].replace("/console", "/v4")).json for answer in (unlock, delete)]
    assert [(job["operation"], job["target"]) for job in jobs] == [
        ("remove_lock", "/v4/filer/volumes/db01/locks/host1.example.org"),
        ("delete_snapshot", "/v4/filer/volumes/db01/snapshots/first"),
    ]


class TestFormsOfVolumes:
    """What forms send, where an error would change the filer."""

    @staticmethod
    def _job(client: Any, answer: Any) -> dict[str, Any]:
        assert answer.status_code == 303, answer.text
        job: dict[str, Any] = client.get(answer.headers["Location"].replace("/console", "/v4")).json
        return job

    @pytest.mark.parametrize("typed", ["", "db02", "DB01"])
    @pytest.mark.parametrize("action", ["restrict", "roll-back"])
    def test_forms_that_remove_something_ask_for_confirmation(self, client, filled, action, typed):
        fields = {"from_snapshot": "first", "later": "second", "confirm": typed}
        answer = client.post(f"/console/filer/volume-actions/{action}/db01", data=fields)
        assert answer.status_code == 422
        assert "Type the volume" in answer.text
        assert client.get("/v4/jobs?operation=restrict_volume,roll_back_volume").json == []

    @pytest.mark.parametrize(
        ("path", "fields"),
        [
            ("volume-actions/snapshot/db01", {"name": "s1"}),
            ("new-volume", {"name": "new1"}),
            ("snapshot-batch", {"name": "all", "where": "name=db*"}),
        ],
    )
    def test_a_form_that_is_sent_twice_makes_one_job(self, client, filled, path, fields):
        page = client.get(f"/console/filer/{path}").text
        (key,) = re.findall(r'name="key" value="([^"]+)"', page)
        made = {client.post(f"/console/filer/{path}", data=fields | {"key": key}).headers["Location"] for _ in range(2)}
        assert len(made) == 1
        assert (
            len(set(re.findall(r'name="key" value="([^"]+)"', client.get(f"/console/filer/{path}").text)) - {key}) == 1
        )

    def test_a_policy_that_is_deleted_twice_by_one_form_is_deleted_once(self, client, filled):
        (key,) = re.findall(r'name="key" value="([^"]+)"', client.get("/console/filer/export/default").text)
        fields = {"confirm": "default", "key": key}
        answers = [client.post("/console/filer/policy-actions/delete/default", data=fields) for _ in range(2)]
        assert self._job(client, answers[0])["id"] == self._job(client, answers[1])["id"]

    def test_each_form_of_the_restricted_volumes_makes_one_job(self, client, filled):
        paths = ("gone1", "gone1", "gone2")
        answers = [client.post(f"/console/filer/restricted/{path}", data={"key": "k1"}) for path in paths]
        first, again, other = (self._job(client, answer)["id"] for answer in answers)
        assert first == again != other

    def test_a_size_beyond_what_json_holds_is_refused(self, client, filled):
        answer = client.post("/console/filer/new-volume", data={"name": "big1", "size_total": "100000000 TB"})
        assert answer.status_code == 422
        assert "must be from 0 to" in answer.text

    @pytest.mark.parametrize(
        ("path", "name"), [("volume-actions/snapshot/db01", "name"), ("new-volume", "name"), ("new-policy", "name")]
    )
    def test_a_form_that_was_changed_before_it_is_sent_again_is_another_request(self, client, filled, path, name):
        first, other = (
            client.post(f"/console/filer/{path}", data={name: value, "key": "k1"}) for value in ("one", "two")
        )
        assert (first.status_code, other.status_code) == (303, 422)
        assert "with other values" in other.text
        (key,) = re.findall(r'name="key" value="([^"]+)"', other.text)
        assert client.post(f"/console/filer/{path}", data={name: "two", "key": key}).status_code == 303

    def test_a_batch_whose_volumes_are_not_known_yet_is_not_made(self, redis_url, redis_client):
        client = FrontEnd(redis_url, read_wait=0).client()
        fields = {"name": "all", "where": "name=db*", "key": "k1"}
        answer = client.post("/console/filer/snapshot-batch", data=fields)
        assert answer.status_code == 504
        assert "send the request again" in answer.text
        assert 'name="key" value="k1"' in answer.text

    @pytest.mark.parametrize(
        ("path", "fields"),
        [
            ("volume-actions/snapshot/db01", {"name": "-"}),
            ("new-volume", {"name": "-"}),
            ("new-policy", {"name": "-"}),
            ("snapshot-batch", {"name": "all", "where": "colour=red"}),
        ],
    )
    def test_a_form_that_was_refused_is_still_the_same_request(self, client, filled, path, fields):
        """It may have been accepted, if Redis became unavailable meanwhile."""
        page = client.post(f"/console/filer/{path}", data=fields | {"key": "k1"})
        assert page.status_code == 422
        assert 'name="key" value="k1"' in page.text

    @pytest.mark.parametrize(
        ("action", "fields", "request_"),
        [
            (
                "clone",
                {"new_name": "db03", "from_snapshot": "first", "size_total": "1KiB"},
                {"volume": "db03", "from_volume": "db01", "from_snapshot": "first", "size_total": 1024},
            ),
            (
                "snapshot",
                {"name": "s1", "purge_old_if_needed": "yes"},
                {"volume": "db01", "name": "s1", "purge_old_if_needed": True},
            ),
            (
                "roll-back",
                {"from_snapshot": "first", "later": "second", "confirm": "db01"},
                {"volume": "db01", "from_snapshot": "first"},
            ),
            ("restrict", {"confirm": "db01"}, {"volume": "db01"}),
        ],
    )
    def test_a_form_submits_the_request_of_its_fields(self, client, filled, action, fields, request_):
        answer = client.post(f"/console/filer/volume-actions/{action}/db01", data=fields)
        assert self._job(client, answer)["request"] == request_

    def test_a_volume_is_reinstated_at_the_given_path(self, client, worker, filled):
        worker.carry_out(accepted(client.delete("/v4/filer/volumes/db01")))
        answer = client.post("/console/filer/restricted/db01", data={"junction_path": "/again"})
        assert self._job(client, answer)["request"] == {"volume": "db01", "junction_path": "/again"}

    def test_each_form_requires_the_role_of_its_action(self, front_end, filled):
        for action, role in (("restrict", Role.ADMIN), ("change", Role.ADMIN), ("snapshot", Role.UBER_ADMIN)):
            client, path = front_end.client(Role.USER, role), f"/console/filer/volume-actions/{action}/db01"
            assert (client.get(path).status_code, client.post(path, data={}).status_code) == (403, 403), action

    def test_a_text_that_starts_like_a_formula_is_escaped_in_csv(self, client, worker, filled):
        for text in ("=1+1", "+1", "-1", "@x"):
            worker.carry_out(accepted(client.patch("/v4/filer/volumes/db01", json={"comment": text})))
            lines = client.get(f"{_VOLUMES}.csv?q=db01&columns=comment").text.splitlines()
            assert lines == ["comment", f"'{text}"]
