"""No number, date, token or text in a parameter or header of the routes of jobs makes the service fail inside."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from api.schemas.times import unix_us
from tests.api.front_end import FrontEnd

_ODD = [
    "9" * 400,
    "-1",
    "0001-01-01T00:00:00+01:00",
    "9999-12-31T23:59:60-23:59",
    "0000-00-00",
    "2020-02-30t25:61:61.9999999999999999999999999z",
    "١٢٣",
    "wait=" + "9" * 400,
    "max-age=" + "9" * 400,
    "1e999",
    "\x7f",
    '"',
    "W/",
    "a" * 2000,
    "==..==",
]
_HEADERS = [
    "Prefer", "Cache-Control", "If-None-Match", "If-Modified-Since", "If-Match", "If-Unmodified-Since", "Range",
    "Idempotency-Key", "Accept", "Accept-Encoding", "Accept-Language", "Content-Type", "Content-Encoding", "Cookie",
    "X-Request-ID", "Last-Event-ID", "Origin", "Forwarded", "X-Forwarded-For", "Callback-URL", "Traceparent", "Expect",
]  # fmt: skip
_PARTS = {
    "subsystem": "filer",
    "volume": "v",
    "name": "s",
    "host": "h",
    "policy": "p",
    "rule": "r",
    "job_id": "x",
    "role": "ADMIN",
}


@pytest.fixture(scope="module")
def quick(redis_url: str) -> FrontEnd:
    """A front end that holds no request open."""
    return FrontEnd(redis_url, read_wait=0, max_wait=1, max_waiting=1, max_streams=0)


@pytest.fixture
def routes(quick: FrontEnd) -> list[tuple[str, str, list[str]]]:
    """Method, path and query parameters of the routes of jobs and batches, from the OpenAPI document."""
    document: Any = quick.client().get("/openapi.json").json
    entries = []
    for path, item in document["paths"].items():
        if not path.startswith(("/v4/jobs", "/v4/batches")):
            continue
        common = item.get("parameters", [])
        for method in ("get", "post", "put", "patch", "delete"):
            if method in item:
                parameters = [*common, *item[method].get("parameters", [])]
                names = [parameter["name"] for parameter in parameters if parameter.get("in") == "query"]
                entries.append((method, path.format_map(_PARTS), names))
    return entries


def _never_fails(client: FlaskClient, method: str, path: str, **sent: Any) -> None:
    headers = {"Cache-Control": "only-if-cached", **sent.pop("headers", {})}
    response = client.open(path, method=method, headers=headers, **sent)
    assert response.status_code != 500, (method, path, sent, headers, response.data[:300])
    assert response.status_code < 400 or response.data, (method, path)


@pytest.mark.parametrize("value", _ODD, ids=range(len(_ODD)))
def test_in_a_query(quick: FrontEnd, redis_client: Any, routes: list[tuple[str, str, list[str]]], value: str) -> None:
    client = quick.client()
    tried = 0
    for method, path, names in routes:
        for name in [*names, "odd", value[:50]]:
            _never_fails(client, method, path, query_string={name: value})
            tried += 1
    assert tried > 30


@pytest.mark.parametrize("value", _ODD, ids=range(len(_ODD)))
def test_in_a_header(quick: FrontEnd, redis_client: Any, routes: list[tuple[str, str, list[str]]], value: str) -> None:
    client = quick.client()
    encoded = value.encode("utf-8").decode("latin-1")
    for method, path, _ in routes:
        for name in _HEADERS:
            _never_fails(client, method, path, headers={name: encoded})
    assert len(routes) > 7


@pytest.mark.parametrize("value", _ODD, ids=range(len(_ODD)))
def test_in_a_path(quick: FrontEnd, redis_client: Any, value: str) -> None:
    client = quick.client()
    for path in ("/v4/{}/volumes", "/v4/filer/volumes/{}", "/v4/filer/export/{}", "/v4/jobs/{}", "/v4/jobs/{}/result"):
        for method in ("GET", "POST", "DELETE"):
            _never_fails(client, method, path.format(value))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-02", 86400),
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T02:00:00+02:00", 0),
        ("1970-01-01T02:00:00 02:00", 0),
        ("1969-12-31 22:30:00-01:30", 0),
        ("1970-01-01t00:00:01.2500000001z", 1.25),
        ("1970-01-01T00:59:60Z", 3600),
        ("1970-01-01T00:00:00", None),
        ("1970-01-01T00:00:00+24:00", None),
        ("1970-01-01T00:00:00+00:60", None),
    ],
)
def test_times_are_read_to_the_microsecond(text, seconds):
    assert unix_us(text) == (None if seconds is None else seconds * 10**6)
