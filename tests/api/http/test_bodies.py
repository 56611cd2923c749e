"""Bodies are parsed strictly; errors are reported with their field."""

from __future__ import annotations

import pytest

from tests.api.front_end import JSON, FrontEnd, accepted, pointers, problem

URL = "/v4/filer/volumes/db01"


def post(client, body, url=URL, **headers):
    return client.post(url, data=body, headers=JSON | headers)


@pytest.mark.parametrize(
    "body",
    [
        b'{"size_total": ',
        b"nonsense",
        b'{"size_total": 1, "size_total": 2}',
        b'{"size_total": NaN}',
        b'{"size_total": -Infinity}',
        b'{"caching_policy": "\xff"}',
        b'{"caching_policy": "\\ud800"}',
        b"\xef\xbb\xbf{}",
        b"[" * 100_000,
        b'{"a":' * 21 + b"1" + b"}" * 21,
        b'{"size_total": ' + b"9" * 5000 + b"}",
    ],
)
def test_malformed_json_is_an_invalid_request(client, body):
    problem(post(client, body), 400, "invalid-request")


@pytest.mark.parametrize("body", [b"[]", b'"text"', b"null", b"1"])
def test_a_body_must_be_an_object(client, body):
    assert pointers(problem(post(client, body), 422, "validation-failed")) == [""]


@pytest.mark.parametrize(
    "value", [b'"1"', b"1.5", b"1.0", b"true", b"null", b"-1", b"9223372036854775808", b"1e400", b"[]"]
)
def test_only_an_integer_in_range_is_a_size(client, value):
    document = problem(post(client, b'{"size_total": ' + value + b"}"), 422, "validation-failed")
    assert pointers(document) == ["/size_total"]


@pytest.mark.parametrize("value", [0, 2**63 - 1])
def test_sizes_are_between_0_and_the_maximum(client, value):
    accepted(post(client, b'{"size_total": %d}' % value))


@pytest.mark.parametrize("value", [b"-1", b"101", b"50.5", b"true", b'"50"'])
def test_percentages_are_between_0_and_100(client, value):
    document = problem(post(client, b'{"percentage_snapshot_reserve": ' + value + b"}"), 422, "validation-failed")
    assert pointers(document) == ["/percentage_snapshot_reserve"]


@pytest.mark.parametrize("value", [b'"true"', b"1", b"0", b"null"])
def test_only_true_and_false_are_booleans(client, value):
    document = problem(post(client, b'{"autosize_enabled": ' + value + b"}"), 422, "validation-failed")
    assert pointers(document) == ["/autosize_enabled"]


def test_every_invalid_field_is_reported(client):
    body = b'{"size_total": "1", "autosize_enabled": 1, "caching_policy": 5, "a/b~c": 1}'
    document = problem(post(client, body), 422, "validation-failed")
    assert set(pointers(document)) == {"/a~1b~0c", "/autosize_enabled", "/caching_policy", "/size_total"}


def test_an_invalid_item_of_a_list_is_reported_with_its_index(client):
    response = post(client, b'{"rules": ["10.0.0.0/8", "no good"]}', "/v4/filer/export/p")
    assert pointers(problem(response, 422, "validation-failed")) == ["/rules/1"]


def test_a_body_is_optional_where_no_field_is_required(client):
    accepted(client.post(URL))


def test_a_change_needs_at_least_one_field(client):
    problem(client.patch(URL, data=b"{}", headers=JSON), 422, "validation-failed")
    problem(client.patch(URL), 422, "validation-failed")


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", None])
def test_other_media_types_are_refused(client, media_type):
    answer = client.post(URL, data=b"{}", content_type=media_type)
    problem(answer, 415, "unsupported-media-type")
    assert answer.headers["Accept"] == "application/json"


def test_a_charset_parameter_is_accepted(client):
    accepted(client.post(URL, data=b"{}", content_type="application/json; charset=utf-8"))


def test_operations_without_body_refuse_fields(client):
    job_id = accepted(client.put(f"{URL}/locks/h1", data=b"{}", headers=JSON)).rpartition("/")[2]
    names = {"subsystem": "filer", "volume": "v", "name": "s", "host": "h1", "policy": "p", "rule": "h2"}
    without = [
        (method, path.format(job_id=job_id, **names))
        for path, operations in client.get("/openapi.json").json["paths"].items()
        for method, operation in operations.items()
        if path.startswith("/v4/") and method in ("post", "put", "patch", "delete") and "requestBody" not in operation
    ]
    assert len(without) == 9
    for method, path in without:
        document = problem(client.open(path, method=method, json={"force": True}), 422, "validation-failed")
        assert pointers(document) == ["/force"], path


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large_is_refused(redis_url, redis_client, chunked):
    client = FrontEnd(redis_url, max_body_bytes=1024).client()
    more = {"environ_overrides": {"wsgi.input_terminated": True, "CONTENT_LENGTH": ""}} if chunked else {}
    body = b'{"caching_policy": "auto"}'
    accepted(client.post(URL, data=body + b" " * (1024 - len(body)), headers=JSON, **more))
    problem(client.post(URL, data=body + b" " * (1025 - len(body)), headers=JSON, **more), 413, "body-too-large")


@pytest.mark.parametrize("method", ["POST", "PATCH"])
@pytest.mark.parametrize("body", [b"", b"{}"])
def test_a_truncated_body_changes_nothing(client, method, body):
    sent = {"data": body, "headers": JSON, "environ_overrides": {"CONTENT_LENGTH": "20"}}
    answer = client.open(URL, method=method, **sent)
    problem(answer, 400, "invalid-request")


@pytest.mark.parametrize("coding", ["chunked", "Chunked"])
def test_an_empty_chunked_body_is_not_a_truncated_one(client, coding):
    problem(post(client, b"", **{"Transfer-Encoding": coding}), 400, "invalid-request")
    accepted(client.delete(f"{URL}/snapshots/s1", headers={"Transfer-Encoding": coding}))


def test_a_compressed_body_is_refused(client):
    answer = post(client, b"{}", **{"Content-Encoding": "gzip"})
    problem(answer, 415, "unsupported-media-type")
    assert answer.headers["Accept-Encoding"] == "identity"
    accepted(post(client, b"{}", **{"Content-Encoding": "identity"}))


def test_a_field_is_named_by_a_json_pointer(client):
    document = problem(client.delete("/v4/filer/volumes/a", json={"a/b~c": 1}), 422, "validation-failed")
    assert pointers(document) == ["/a~1b~0c"]


def test_of_many_errors_the_first_twenty_are_reported(client):
    for fields in ({f"field{number}": 1 for number in range(50)}, {"rules": [1] * 50}):
        document = problem(client.post("/v4/filer/export/new", json=fields), 422, "validation-failed")
        assert len(document["errors"]) == 20
