"""Batches that are refused as a whole: what is wrong is named."""

from __future__ import annotations

import pytest

from tests.api.batches.batch_requests import creation
from tests.api.front_end import pointers, problem
from worker.catalog.operations import Role

URL = "/v4/batches"


class TestRefused:
    def test_every_error_is_reported(self, client):
        requests = [
            creation("fine"),
            creation("a", size_total="1"),
            {"method": "POST", "path": "/v4/nowhere/volumes/a"},
            {"method": "DELETE", "path": "/v4/filer/volumes/-"},
            {"method": "DELETE", "path": "/v4/filer/volumes/a", "body": {"why": 1}},
            {"method": "PATCH", "path": "/v4/filer/volumes/a", "body": {}},
            {"method": "POST", "path": "/v4/jobs/cancel", "body": {"volume": "a"}},
            {"method": "DELETE", "path": "/v4/filer/volumes/a?x=1"},
            {"method": "PUT", "path": "/v4/filer/volumes/a"},
            {"method": "DELETE", "path": "/v4/nothing"},
        ]
        document = problem(client.post(URL, json={"requests": requests}), 422, "validation-failed")
        assert sorted(pointers(document)) == [
            "/requests/1/body/size_total",
            "/requests/2/path",
            "/requests/3/path",
            "/requests/4/body/why",
            "/requests/5/body",
            "/requests/6/path",
            "/requests/7/path",
            "/requests/8/method",
            "/requests/9/path",
        ]
        assert client.get("/v4/jobs").json == []

    def test_of_many_errors_the_first_are_reported(self, front_end, client):
        wrong = [{"method": "DELETE", "path": f"/v4/filer/volumes/{name}"} for name in "-" * 21]
        document = problem(client.post(URL, json={"requests": wrong}), 422, "validation-failed")
        expected = [f"/requests/{number}" for number in range(20)]
        assert pointers(document) == [f"{pointer}/path" for pointer in expected]
        assert document["detail"].count("requests/") == 5
        response = front_end.client(Role.ADMIN).post(URL, json={"requests": wrong})
        assert pointers(problem(response, 403, "missing-role")) == expected

    @pytest.mark.parametrize("more", ["?x=1", "#x", "?", "#"])
    def test_a_path_with_query_or_fragment_is_refused(self, client, more):
        requests = [{"method": "DELETE", "path": f"/v4/filer/volumes/a{more}"}]
        document = problem(client.post(URL, json={"requests": requests}), 422, "validation-failed")
        (error,) = document["errors"]
        assert (error["pointer"], error["detail"]) == ("/requests/0/path", "must have no query and no fragment")

    @pytest.mark.parametrize(
        ("body", "pointer"),
        [
            ({}, "/requests"),
            ({"requests": []}, "/requests"),
            ({"requests": [creation("a")] * 1001}, "/requests"),
            ({"requests": ["x"]}, "/requests/0"),
            ({"requests": [{"method": "GET", "path": "/v4/filer/volumes"}]}, "/requests/0/method"),
            ({"requests": [{"method": "POST", "path": 5}]}, "/requests/0/path"),
            # A change below /v3 is held open until its end.
            ({"requests": [creation("a") | {"path": "/v3/filer/volumes/a"}]}, "/requests/0/path"),
            ({"requests": [creation("a") | {"path": "v4/filer/volumes/a"}]}, "/requests/0/path"),
            ({"requests": [{"method": "POST", "path": "/v4/filer/volumes/a", "body": []}]}, "/requests/0/body"),
            ({"requests": [{**creation("a"), "why": 1}]}, "/requests/0/why"),
            ({"requests": [creation("a")], "parallel": 0}, "/parallel"),
            ({"requests": [creation("a")], "parallel": "8"}, "/parallel"),
            ({"requests": [creation("a")], "parallel": 101}, "/parallel"),
            ({"requests": [creation("a")], "name": ""}, "/name"),
            ({"requests": [creation("a")], "name": "x" * 256}, "/name"),
            ({"requests": [creation("a")], "name": "two\nlines"}, "/name"),
            ({"requests": [creation("a")], "on_failure": "hope"}, "/on_failure"),
            ({"requests": [creation("a")], "colour": "red"}, "/colour"),
            ({"requests": [creation("a")], "request": creation("a")}, "/request"),
            (
                {
                    "requests": [creation("a")],
                    "for_each": {"subsystem": "filer", "where": ""},
                    "request": creation("{name}"),
                },
                "/for_each",
            ),
            ({"for_each": {"subsystem": "filer", "where": ""}}, "/request"),
            ({"for_each": {"subsystem": "filer", "where": ""}, "request": creation("a")}, "/request/path"),
            ({"for_each": {"subsystem": "none", "where": ""}, "request": creation("{name}")}, "/for_each/subsystem"),
            (
                {"for_each": {"subsystem": "none", "where": "x" * 8000}, "request": creation("{name}")},
                "/for_each/subsystem",
            ),
            (
                {"for_each": {"subsystem": "none", "where": "x" * 8001}, "request": creation("{name}")},
                "/for_each/where",
            ),
        ],
    )
    def test_an_invalid_batch_is_refused_with_the_pointer(self, client, body, pointer):
        assert pointers(problem(client.post(URL, json=body), 422, "validation-failed")) == [pointer]

    def test_a_missing_role_refuses_the_whole_batch(self, front_end):
        deletions = [{"method": "DELETE", "path": f"/v4/filer/volumes/{name}"} for name in "bc"]
        requests = [creation("a"), *deletions]
        document = problem(front_end.client(Role.ADMIN).post(URL, json={"requests": requests}), 403, "missing-role")
        assert (pointers(document), document["role"]) == (["/requests/1", "/requests/2"], "UBER_ADMIN")
        assert front_end.client().get("/v4/jobs").json == []

    def test_the_audit_log_names_the_member_that_was_refused_or_the_batch(self, front_end, request):
        deletion = {"method": "DELETE", "path": "/v4/filer/volumes/b", "body": {"why": 1}}
        clients = [front_end.client(Role.ADMIN, role) for role in (Role.ADMIN, Role.UBER_ADMIN)]
        # Applications set the handlers of the audit log when they are made.
        audit = request.getfixturevalue("audit")
        statuses = [client.post(URL, json={"requests": [deletion]}).status_code for client in clients]
        assert statuses == [403, 422]
        lines = [(line["operation"], line["target"], line["allowed"]) for line in audit()]
        assert lines == [("create_batch", "/v4/filer/volumes/b", False), ("create_batch", URL, True)]

    def test_the_body_of_a_user_without_a_role_for_changes_is_not_read(self, front_end):
        headers = {"Content-Type": "application/json"}
        document = problem(front_end.client(Role.USER).post(URL, data=b"[", headers=headers), 403, "missing-role")
        assert document["role"] == "ADMIN"

    def test_anonymous_requests_are_refused(self, front_end):
        problem(front_end.stranger().post(URL, json={"requests": [creation("a")]}), 401, "unauthenticated")

    def test_conditions_are_refused(self, client):
        response = client.post(URL, json={"requests": [creation("a")]}, headers={"If-Match": '"x"'})
        problem(response, 412, "precondition-failed")
