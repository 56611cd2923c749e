"""The document says what the service does."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
from openapi_spec_validator import validate

from api.http import request_hooks
from deploy.docs import openapi
from tests.api import interface
from tests.api.front_end import problem
from worker.catalog.operations import OPERATIONS
from worker.catalog.success_status import success_status

_METHODS = ("get", "post", "put", "patch", "delete")


@pytest.fixture
def document(front_end):
    return front_end.stranger().get("/openapi.json").json


def operations(document):
    return [item[method] for item in document["paths"].values() for method in _METHODS if method in item]


def test_the_document_is_served_at_both_paths_and_made_once(front_end):
    client = front_end.stranger()
    first = client.get("/openapi.json")
    assert client.get("/swagger.json").data == first.data
    assert first.headers["Cache-Control"] == "no-cache"
    assert first.json["paths"]["/v4/{subsystem}/volumes"]["parameters"][0]["schema"]["enum"] == ["filer", "other"]
    assert client.get("/openapi.json", headers={"If-None-Match": first.headers["ETag"]}).status_code == 304


def test_below_a_prefix_the_document_has_it(front_end, document):
    assert "servers" not in document
    below = front_end.stranger().get("/openapi.json", base_url="http://localhost/storage").json
    assert below == document | {"servers": [{"url": "/storage"}]}


def test_the_document_has_the_version_of_the_project(document):
    source = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
    assert document["info"]["version"] == source["project"]["version"]


def test_the_document_is_valid(document):
    assert document["openapi"] == "3.1.0"
    validate(document)
    assert len(document["tags"]) > 5
    assert [tag["name"] for tag in document["tags"] if not tag.get("description")] == []


def test_the_recorded_interface_has_not_changed():
    """If it should: ``make interface``, and a line in CHANGELOG.md."""
    before, now = set(interface.FILE.read_text("utf-8").splitlines()), set(interface.lines(openapi.document()))
    assert len(now) > 500
    assert (sorted(before - now), sorted(now - before)) == ([], [])


def test_every_reference_can_be_resolved(document):
    references = set(re.findall(r'"\$ref": ?"#/([^"]+)"', str(document).replace("'", '"')))
    assert len(references) > 10
    for reference in references:
        node = document
        for part in reference.split("/"):
            assert part in node, reference
            node = node[part]


def test_patterns_are_in_the_dialect_of_json_schema(document):
    patterns = set(re.findall(r'"pattern": "([^"]*)"', json.dumps(document)))
    assert len(patterns) > 10
    # Python's own words for the begin, the end and a group's name mean letters there, or nothing.
    assert [pattern for pattern in patterns if re.search(r"\\\\[AZz]|\(\?P", pattern)] == []
    assert [pattern for pattern in patterns if not (pattern.startswith("^") and pattern.endswith("$"))] == []


def test_every_operation_is_documented(document):
    operation_names = {name for operation in operations(document) for name in operation.get("x-operations", ())}
    assert operation_names == set(OPERATIONS)
    assert [operation["operationId"] for operation in operations(document) if not operation.get("summary")] == []
    assert {operation["operationId"] for operation in operations(document)} >= set(OPERATIONS) - {
        "clone_volume",
        "roll_back_volume",
    }


def test_operation_ids_are_unique(document):
    ids = [operation["operationId"] for operation in operations(document)]
    assert len(ids) == len(set(ids))


def test_documented_responses_are_those_of_the_operation(document):
    checked = [(operation, name) for operation in operations(document) for name in operation.get("x-operations", ())]
    assert len(checked) >= len(OPERATIONS)
    for operation, name in checked:
        assert str(int(success_status(OPERATIONS[name]))) in operation["responses"]
        assert "Location" in operation["responses"]["202"]["headers"]
        assert operation["x-role"] == OPERATIONS[name].role


def test_roles_and_callbacks_are_documented(document):
    checked = [operation for operation in operations(document) if "x-operations" in operation]
    assert len(checked) >= 20
    for operation in checked:
        role = operation["x-role"]
        signed_in = [{scheme: [role]} for scheme in ("session", "bearer", "basic")]
        assert operation["security"] == [*([{}] if role == "USER" else []), *signed_in]
        is_change = OPERATIONS[operation["x-operations"][0]].is_change
        assert ("ended" in operation.get("callbacks", {})) is is_change
    assert document["paths"]["/healthz"]["get"]["security"] == []


def test_problems_are_documented_as_such(document):
    responses = {
        name: candidate for name, candidate in document["components"]["responses"].items() if "content" in candidate
    }
    assert len(responses) > 10
    for name, response in responses.items():
        assert list(response["content"]) == ["application/problem+json"], name


def test_responses_with_an_etag_document_status_304(document):
    reads = [item["get"] for item in document["paths"].values() if "get" in item]
    tagged = [operation for operation in reads if "ETag" in _headers(document, operation, "200")]
    assert len(tagged) >= 15
    assert [operation["operationId"] for operation in tagged if "304" not in operation["responses"]] == []


def _headers(document, operation, status):
    response = operation["responses"].get(status, {})
    name = response.get("$ref", "").rpartition("/")[2]
    return (document["components"]["responses"][name] if name else response).get("headers", {})


def test_a_filter_on_each_field_is_documented(document):
    parameters = document["paths"]["/v4/{subsystem}/volumes"]["get"]["parameters"]
    parameter_names = {parameter["name"] for parameter in parameters if parameter.get("in") == "query"}
    assert parameter_names >= {"limit", "page_token", "sort", "fields", "name", "size_used", "creation_time"}


@pytest.mark.parametrize("path", ["/openapi.json", "/docs-assets/swagger-ui.css", "/console/assets/console.css"])
def test_a_precondition_that_fails_is_a_problem(front_end, path):
    answer = front_end.client().get(path, headers={"If-Match": '"another"'})
    problem(answer, 412, "precondition-failed")
    answer = front_end.client().get(path, headers={"If-Match": "*"})
    assert (answer.status_code, len(answer.data)) == (200, int(answer.headers["Content-Length"]))


def test_the_documented_cookie_is_the_session_cookie(front_end):
    """Over TLS it has another name, whichever client read the document first."""
    for base_url in ("http://localhost", "https://localhost"):
        client = front_end.stranger()
        schemes = client.get("/openapi.json", base_url=base_url).json["components"]["securitySchemes"]
        cookie = client.get("/login", base_url=base_url).headers["Set-Cookie"]
        assert cookie.partition("=")[0] == schemes["session"]["name"]


#: Headers of all responses, or of none in particular.
_COMMON = {
    "content-type", "content-length", "vary", "cache-control", "x-ratelimit-limit", "x-ratelimit-remaining",
    "x-ratelimit-reset",
}  # fmt: skip
_DOCUMENTED = [
    ("GET", "/v4/filer/volumes/{volume}", "a", {"Prefer": "respond-async"}, 202),
    ("POST", "/v4/filer/volumes/{volume}", "a", {"Idempotency-Key": "k"}, 202),
    ("POST", "/v4/filer/volumes/{volume}", "a", {"Idempotency-Key": "k", "Content-Type": "text/plain"}, 415),
    ("POST", "/v4/filer/volumes/{volume}", "b", {"Idempotency-Key": "k"}, 422),
    ("PATCH", "/v4/filer/volumes/{volume}", "b", {"Authorization": "Bearer none"}, 401),
    ("GET", "/v4/jobs", "", {"Accept": "text/html"}, 200),
    ("GET", "/v4/jobs", "", {"Authorization": "Bearer none"}, 401),
    ("POST", "/v4/batches", "", {}, 422),
    ("GET", "/v4/filer/volumes", "", {"Cache-Control": "only-if-cached"}, 504),
    ("GET", "/v3/filer/volumes", "", {"Cache-Control": "only-if-cached"}, 503),
    ("POST", "/v3/filer/volumes/{volume}", "a", {"Content-Type": "text/plain"}, 400),
]  # fmt: skip


def test_headers_and_media_types_of_responses_are_documented(front_end, document):
    common, client = _COMMON | {name.lower() for name in request_hooks._SECURITY_HEADERS}, front_end.client()
    for method, path, volume, headers, status in _DOCUMENTED:
        sent = None if method == "GET" else b"{}"
        sent_headers = {"Content-Type": "application/json", **headers}
        answer = client.open(path.format(volume=volume), method=method, headers=sent_headers, data=sent)
        assert answer.status_code == status, answer.data
        described = document["paths"][path.replace("filer", "{subsystem}")][method.lower()]["responses"][str(status)]
        if "$ref" in described:
            described = document["components"]["responses"][described["$ref"].rpartition("/")[2]]
        assert answer.mimetype in described["content"], path
        names = {name.lower() for name, _ in answer.headers} - common
        assert names - {name.lower() for name in described["headers"]} == set(), (method, path, status)


def test_the_bodies_of_the_predecessor_are_documented(document):
    bodies = {
        (path, method): response["content"]["application/json"]["schema"]
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if path.startswith("/v3/") and method in ("post", "put", "patch")
        for status, response in operation["responses"].items()
        if status.startswith("2")
    }
    assert len(bodies) == 6
    assert bodies["/v3/{subsystem}/volumes/{volume}", "patch"] == {"type": "null"}
    assert bodies["/v3/{subsystem}/volumes/{volume}/locks/{host}", "put"] == {"type": "string", "const": ""}
