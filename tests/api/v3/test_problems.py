"""From each problem of /v4 to the error of /v3."""

from __future__ import annotations

import pytest

from api.http.problems import Problem, problem_response
from api.v3.problems import name_in_messages, translate
from worker.catalog.problem_types import PROBLEM_TYPES

KEEPS = {
    403: ("missing-role", "unauthenticated", "cross-site-request"),
    404: ("no-such-volume", "no-such-snapshot", "no-such-policy", "no-such-subsystem", "no-such-job", "not-found"),
    405: ("method-not-allowed",),
    409: ("too-many-snapshots", "job-cancelled"),
    412: ("precondition-failed",),
    413: ("body-too-large",),
    414: ("url-too-long",),
    429: ("queue-full", "rate-limited"),
    431: ("headers-too-large",),
    500: (
        "backend-error", "worker-lost", "timed-out", "backend-timeout", "outcome-unknown", "internal-error",
        "result-expired",
    ),
    501: ("not-supported",),
    503: (
        "queue-unavailable", "sign-in-unavailable", "backend-unavailable", "resource-busy", "not-cached",
        "too-many-streams",
    ),
}  # fmt: skip
STATUS = {code: status for status, codes in KEEPS.items() for code in codes}


def translated(front_end, problem, method="PUT"):
    with front_end.app().test_request_context("/v3/filer/volumes/v/locks/h", method=method):
        response = problem_response(problem)
        translate(response)
        return response


@pytest.mark.parametrize("code", sorted(PROBLEM_TYPES))
def test_every_problem_has_a_v3_form(front_end, code):
    answer = translated(front_end, Problem(code, "Said so."))
    # Clients know all others as 400.
    assert answer.status_code == STATUS.get(code, 400)
    assert answer.content_type == "application/json"
    assert set(answer.json) == {"message"}


@pytest.mark.parametrize(
    ("code", "method"), [("backend-unavailable", "PUT"), ("resource-busy", "PUT"), ("result-expired", "GET")]
)
def test_problems_of_unchanged_state_are_503_with_retry_after(front_end, code, method):
    answer = translated(front_end, Problem(code, "It is away."), method)
    assert (answer.status_code, int(answer.headers["Retry-After"]) > 0) == (503, True)
    response = translated(front_end, Problem(code, "It is away.", headers={"Retry-After": "77"}), method)
    assert response.headers["Retry-After"] == "77"


@pytest.mark.parametrize(("code", "errno"), [("917526", 917526), ("EAPINOTFOUND", "EAPINOTFOUND")])
def test_the_error_of_the_filer_is_quoted(front_end, code, errno):
    extra = {"backend_error": {"code": code, "message": "Its own words"}}
    answer = translated(front_end, Problem("backend-error", "The storage system refused.", extra=extra))
    assert (answer.status_code, answer.json) == (500, {"message": "Its own words", "errno": errno})


def test_pointers_are_translated_to_field_names(front_end):
    errors = [
        {"pointer": "/rules/0", "detail": "a"},
        {"pointer": "", "detail": "b"},
        {"pointer": "/x~1y", "detail": "c"},
        # A tilde, not a slash (RFC 6901).
        {"pointer": "/x~01y", "detail": "d"},
    ]
    answer = translated(front_end, Problem("validation-failed", "Mend it.", errors=errors))
    assert answer.json == {"message": "Mend it.", "errors": {"rules.0": "a", "": "b", "x/y": "c", "x~1y": "d"}}


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("worker-lost", "before anything was changed"),
        ("outcome-unknown", "may or may not"),
        ("backend-timeout", "look before"),
        ("timed-out", "before anything was changed"),
    ],
)
def test_the_outcome_of_a_change_is_reported(front_end, code, says):
    details = {
        "worker-lost": "The worker that had this job was lost before anything was changed. Submit it again.",
        "outcome-unknown": "The change may or may not have happened: look at the storage system first.",
        "timed-out": "The job was stopped before anything was changed.",
    }
    answer = translated(front_end, Problem(code, details.get(code, "It did not answer.")))
    assert (answer.status_code, says in answer.json["message"]) == (500, True)
    # Only where that is not known.
    assert ("look before" in answer.json["message"]) is (code == "backend-timeout")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_read_that_took_too_long_changed_nothing(front_end, method):
    answer = translated(front_end, Problem("backend-timeout", "It did not answer."), method)
    assert answer.json == {"message": "It did not answer."}


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("no-such-subsystem", "No such subsystem. Allowed values are: filer, other"),
        ("no-such-volume", "No such volume: the volume"),
        ("no-such-snapshot", "No such snapshot: the snapshot"),
        ("no-such-policy", "No such policy: the policy"),
        ("already-exists", "It is there! The volume is locked by the host."),
        ("lock-held", "the volume is already locked by the host!"),
        ("policy-in-use", "Policy the policy is in use. The volume is locked by the host."),
        ("not-found", "The volume is locked by the host."),
    ],
)
def test_each_message_names_its_subject(front_end, code, message):
    with front_end.app().test_request_context("/v3/filer/volumes/v/locks/h", method="PUT"):
        name_in_messages(volume="the volume", name="the snapshot", policy="the policy", exists="It is there!")
        response = problem_response(Problem(code, "The volume is locked by the host."))
        translate(response)
    assert response.json == {"message": message}


@pytest.mark.parametrize("body", [b"[1]", b"1", b'"x"', b"null"])
def test_a_body_that_is_no_object_is_refused(idle, body):
    answer = idle("PATCH", "/dummy/volumes/v1", body, Content_Type="application/json")
    assert answer.status_code == 400
    assert answer.json == {"message": "Input payload validation failed", "errors": {"": "must be a JSON object"}}


def test_a_body_that_is_too_large_is_not_called_bad_json(make_v3):
    old = make_v3(api={"max_body_bytes": 1024})
    message = old.message(413, "PATCH", "/dummy/volumes/v1", b"1" * 1025, Content_Type="application/json")
    assert "decode" not in message
