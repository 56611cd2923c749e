"""Whatever goes wrong is answered with a problem document."""

from __future__ import annotations

import errno
import subprocess
import sys

import pytest
import redis
import structlog

from api.http.problems import problem_document, problem_of
from tests.api.front_end import JSON, FrontEnd, problem
from worker.catalog.operations import Role
from worker.jobs.failure import Failure
from worker.store.client import NotReplicated, ReplyLost


@pytest.mark.parametrize(
    "path", ["/nope", "/v4", "/v4/filer/volumes/", "/v4//filer/volumes", "/V4/filer/volumes", "/v4/filer/export/"]
)
def test_unknown_addresses_are_not_found_and_never_redirected(client, path):
    problem(client.get(path), 404, "not-found")


def test_an_unknown_subsystem(client):
    document = problem(client.get("/v4/Nope/volumes?a=b"), 404, "no-such-subsystem")
    assert document["instance"] == "/v4/Nope/volumes"
    assert problem(client.get(f"/{'a' * 2000}"), 404, "not-found")["instance"] == f"/{'a' * 1023}"
    problem(client.post("/v4/nope/volumes/a", data=b"{", headers=JSON), 404, "no-such-subsystem")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v4/filer/volumes/a", "DELETE GET HEAD OPTIONS PATCH POST"),
        ("POST", "/v4/filer/volumes", "GET HEAD OPTIONS"),
        ("DELETE", "/v4/filer/volumes/a/snapshots", "GET HEAD OPTIONS"),
        ("POST", "/v4/filer/volumes/n:/a/locks", "GET HEAD OPTIONS"),
        ("PATCH", "/v4/filer/volumes/a/snapshots/s", "DELETE GET HEAD OPTIONS POST"),
        ("GET", "/v4/filer/export/p/rule/r", "DELETE OPTIONS PUT"),
        ("DELETE", "/v4/jobs/x", "GET HEAD OPTIONS"),
        ("BREW", "/healthz", "GET HEAD OPTIONS"),
    ],
)
def test_a_method_that_is_not_allowed(client, method, path, allowed):
    response = client.open(path, method=method)
    problem(response, 405, "method-not-allowed")
    assert sorted(response.headers["Allow"].split(", ")) == allowed.split()


def test_anonymous_clients_get_the_challenges(front_end):
    response = front_end.stranger().post("/v4/filer/volumes/a")
    problem(response, 401, "unauthenticated")
    assert "Bearer" in response.headers["WWW-Authenticate"]


def test_the_missing_role_is_named(front_end):
    document = problem(front_end.client(Role.USER, Role.ADMIN).delete("/v4/filer/volumes/a"), 403, "missing-role")
    assert "UBER_ADMIN" in document["detail"]


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v4/filer/volumes/a"), ("POST", "/v4/filer/volumes/a"), ("GET", "/v4/jobs"), ("GET", "/healthz")],
)
def test_an_unknown_query_parameter_is_named(client, method, path):
    document = problem(client.open(f"{path}?colour=red", method=method), 422, "validation-failed")
    assert "colour" in document["detail"]


def test_a_url_that_is_too_long(client):
    problem(client.get("/v4/filer/volumes/" + "a" * 9000), 414, "url-too-long")
    problem(client.get("/v4/jobs?volume=" + "a" * 9000), 414, "url-too-long")


def test_headers_that_are_too_large(client):
    problem(client.get("/healthz", headers={"X-Much": "a" * 20_000}), 431, "headers-too-large")


@pytest.mark.parametrize("sent", ["abc-1.2:3_4", "A" * 128])
def test_a_valid_request_id_is_used(client, sent):
    assert client.get("/healthz", headers={"X-Request-ID": sent}).headers["X-Request-ID"] == sent


@pytest.mark.parametrize("sent", ["", "a b", "a" * 129, "<x>", "ä"])
def test_an_invalid_request_id_is_replaced(client, sent):
    made = client.get("/healthz", headers={"X-Request-ID": sent}).headers["X-Request-ID"]
    assert made != sent
    assert len(made) == 32


def test_without_redis_no_job_is_accepted_and_the_problem_says_so(redis_url):
    front_end = FrontEnd("redis://127.0.0.1:1/0")
    for response in (front_end.client().post("/v4/filer/volumes/a"), front_end.client().get("/v4/filer/volumes")):
        document = problem(response, 503, "queue-unavailable")
        assert "Nothing was accepted" in document["detail"]
        assert document["retryable"]
        assert int(response.headers["Retry-After"]) > 0
        assert "127.0.0.1" not in str(document)


@pytest.mark.parametrize(
    ("method", "path", "headers", "retryable"),
    [
        ("POST", "/v4/filer/volumes/a/snapshots/b", {}, False),
        ("POST", "/v4/filer/volumes/a/snapshots/b", {"Idempotency-Key": "once"}, True),
        ("PUT", "/v4/filer/volumes/a/locks/b", {}, True),
    ],
    ids=["a change that may be done twice", "with a key", "one that may be repeated"],
)
def test_a_job_that_may_be_recorded_is_not_reported_as_refused(client, monkeypatch, method, path, headers, retryable):
    def lose(*_: object) -> None:
        raise ReplyLost("slow")

    monkeypatch.setattr("worker.jobs.service.Jobs.accept", lose)
    document = problem(client.open(path, method=method, headers=headers), 503, "queue-unavailable")
    assert "Nothing was accepted" not in document["detail"]
    assert "may have been accepted" in document["detail"]
    assert document["retryable"] is retryable


def test_an_internal_error_is_logged_but_not_in_the_response(front_end, monkeypatch):
    def crash(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr("worker.jobs.service.Jobs.find", crash)
    with structlog.testing.capture_logs() as logged:
        response = front_end.client().get("/v4/jobs")
    assert "secret" not in str(problem(response, 500, "internal-error"))
    assert [entry["event"] for entry in logged if entry["log_level"] == "error"] == ["request.failed"]


@pytest.mark.parametrize(
    "error", [redis.OutOfMemoryError("full"), redis.ResponseError("odd"), redis.TimeoutError("slow")]
)
def test_no_error_of_redis_is_an_internal_error(front_end, monkeypatch, error):
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr("worker.jobs.service.Jobs.find", refuse)
    problem(front_end.client().get("/v4/jobs"), 503, "queue-unavailable")


def test_responses_have_security_headers(client):
    for path in ("/healthz", "/nope", "/v4/jobs"):
        headers = client.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"
        assert headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Cross-Origin-Resource-Policy"] == headers["Cross-Origin-Opener-Policy"] == "same-origin"


_FORKING = """
import os
from api.http.request_ids import given_or_new
given_or_new("")
if os.fork():
    os.wait()
print(given_or_new(""))
"""


def test_forked_processes_generate_different_request_ids():
    made = subprocess.run([sys.executable, "-c", _FORKING], capture_output=True, check=True, timeout=60).stdout.split()
    assert len(made) == len(set(made)) == 2


def test_every_request_is_logged(client, front_end):
    structlog.contextvars.bind_contextvars(trace_id="of the request before")
    with structlog.testing.capture_logs([structlog.contextvars.merge_contextvars]) as logged:
        change = client.post("/v4/filer/volumes/a", headers={"X-Request-ID": "r-1"})
        client.get("/healthz")
        FrontEnd("redis://127.0.0.1:1/0").client().get("/readyz")
    line, failed = (entry for entry in logged if entry["event"] == "request")
    assert 0 < line.pop("ms") < 60_000
    expected = {"method": "POST", "path": "/v4/filer/volumes/a", "status": 202, "requested_by": "ann"}
    expected |= {"request_id": "r-1", "job_id": change.json["id"]}
    assert expected.items() <= line.items()
    assert "trace_id" not in line
    assert (failed["path"], failed["status"], "job_id" in failed) == ("/readyz", 503, False)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (OSError(errno.EMFILE, "Too many open files"), 503, "queue-unavailable"),
        (OSError(errno.ENFILE, "Too many open files"), 503, "queue-unavailable"),
        (OSError(errno.EIO, "odd"), 500, "internal-error"),
    ],
    ids=["process", "system", "other"],
)
def test_without_free_file_descriptors_a_request_may_be_repeated(front_end, monkeypatch, error, status, code):
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr("worker.jobs.service.Jobs.find", refuse)
    answer = front_end.client().get("/v4/jobs")
    problem(answer, status, code)
    assert ("Retry-After" in answer.headers) == (status == 503)


@pytest.mark.parametrize("lost", [ReplyLost("slow"), NotReplicated("few")])
def test_a_failed_read_is_never_reported_as_possibly_accepted(front_end, monkeypatch, lost):
    def lose(*_: object) -> None:
        raise lost

    monkeypatch.setattr("worker.jobs.service.Jobs.accept", lose)
    document = problem(front_end.client().get("/v4/filer/volumes"), 503, "queue-unavailable")
    assert "Nothing was accepted" in document["detail"]
    document = problem(front_end.client().delete("/v4/filer/volumes/a"), 503, "queue-unavailable")
    assert "may have been accepted" in document["detail"]


@pytest.mark.parametrize("retryable", [True, False])
def test_the_failure_of_a_job_of_a_later_version_is_reported_completely(retryable):
    errors = ({"pointer": "/requests/1", "detail": "it is odd"},)
    failure = Failure("code-of-a-later-version", "It broke.", retryable, {"code": "7", "message": "odd"}, errors)
    assert problem_document(problem_of(failure)) == {
        "type": "/problems/backend-error", "title": "Storage system error", "status": 502,
        "detail": "It broke.",
        "code": "backend-error", "retryable": retryable, "errors": [*errors],
        "backend_error": {"code": "7", "message": "odd"},
    }  # fmt: skip


def test_each_problem_has_a_documentation_page(client):
    page, document = (client.get("/problems/queue-full", headers={"Accept": kind}) for kind in ("text/html", "*/*"))
    assert "<h1>Queue full</h1>" in page.text
    assert document.json["status"] == 429
    assert page.headers["Vary"] == document.headers["Vary"] == "Accept"
    assert "may work later" in page.text
    refused = client.get("/problems/validation-failed", headers={"Accept": "text/html"})
    assert "will be refused again" in refused.text
    problem(client.get("/problems/none-such"), 404, "not-found")


def test_a_refused_head_request_has_the_headers_of_get(client):
    head, got = (client.open("/v4/batches", method=method) for method in ("HEAD", "GET"))
    assert (head.status_code, head.headers["Content-Length"]) == (405, got.headers["Content-Length"])
    assert head.headers["Allow"] == got.headers["Allow"]
