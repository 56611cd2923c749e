"""Parts of requests that may grow: each is sent with some size, and with ten times as much."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.api.front_end import JSON

VOLUMES = "/v4/filer/volumes"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
#: Where limits on bytes do not hide what is behind them; no request waits.
UNLIMITED: dict[str, Any] = {
    "max_body_bytes": 10**7,
    "max_url_bytes": 10**6,
    "max_header_bytes": 10**6,
    "max_body_names": 10**6,
    "read_wait": 0,
    "max_wait": 0,
    "max_streams": 0,
}

#: Sends it once.
Call = Callable[[], object]
Make = Callable[[Any, int], Call]


def _names(size: int) -> str:
    """An object of many names, the last of which is there twice."""
    return "{" + ",".join(f'"name{number}":{number}' for number in range(size)) + f',"name{size - 1}":1}}'


def _post(path: str, body: Callable[[int], str]) -> Make:
    return lambda client, size: lambda: client.post(path, data=body(size), headers=JSON)


def _query(path: str, text: Callable[[int], str]) -> Make:
    return lambda client, size: lambda: client.get(f"{path}?{text(size)}")


def _header(name: str, text: Callable[[int], str], path: str = "/v4/jobs") -> Make:
    return lambda client, size: lambda: client.get(path, headers={name: text(size)})


def _members(size: int) -> str:
    member = '{"method":"POST","path":"/v4/filer/volumes/v%d/snapshots/s","body":{"odd":1}}'
    return '{"requests":[' + ",".join(member % number for number in range(size)) + "]}"


#: By what grows: the smaller size, and what makes the request.
INPUTS: dict[str, tuple[int, Make]] = {
    "names of a body": (300, _post(f"{VOLUMES}/v", _names)),
    "nesting": (300, _post(f"{VOLUMES}/v", lambda n: "[" * n)),
    "nested objects": (80, _post(f"{VOLUMES}/v", lambda n: '{"a":' * n + "1" + "}" * n)),
    "list of a body": (
        200,
        _post("/v4/filer/export/p", lambda n: '{"rules":[' + ",".join(f'"h{i}"' for i in range(n)) + "]}"),
    ),
    "one rule again and again": (200, _post("/v4/filer/export/p", lambda n: '{"rules":[' + '"h",' * n + '"h"]}')),
    "digits of a body": (2000, _post(f"{VOLUMES}/v", lambda n: f'{{"size_total": {"9" * n}}}')),
    "text of a body": (2000, _post(f"{VOLUMES}/v", lambda n: f'{{"comment": "{"é" * n}"}}')),
    "members of a batch": (30, _post("/v4/batches", _members)),
    "filter of a batch": (
        300,
        _post(
            "/v4/batches", lambda n: '{"for_each":{"subsystem":"filer","where":"' + "name=x&" * n + '"},"request":{}}'
        ),
    ),
    "ids of many jobs": (100, _post("/v4/jobs/cancel", lambda n: '{"id":"' + f"{0:036}," * n + '"}')),
    "fields of a v3 body": (300, _post("/v3/filer/volumes/v", _names)),
    "fields of a form": (
        300,
        lambda c, n: lambda: c.post("/console/jobs/x/settle", data="&".join(f"f{i}=1" for i in range(n)), headers=FORM),
    ),
    "quotes of a filter": (500, _query(VOLUMES, lambda n: "name=" + 'a"' * n)),
    "bars of a filter": (500, _query(VOLUMES, lambda n: "name=" + "|" * n)),
    "stars of a filter": (500, _query(VOLUMES, lambda n: "name=" + "*" * n)),
    "negations of a filter": (500, _query(VOLUMES, lambda n: "name=" + "!" * n)),
    "parameters": (100, _query(VOLUMES, lambda n: "&".join(f"p{i}=1" for i in range(n)))),
    "parameters of a job list": (100, _query("/v4/jobs", lambda n: "&".join(f"p{i}=1" for i in range(n)))),
    "parameters of the console": (100, _query("/console/jobs", lambda n: "&".join(f"p{i}=1" for i in range(n)))),
    "ids of a job list": (50, _query("/v4/jobs", lambda n: "id=" + ",".join(f"{i:036}" for i in range(n)))),
    "operations of a job list": (200, _query("/v4/jobs", lambda n: "operation=" + "batch," * n)),
    "states of a job list": (200, _query("/v4/jobs", lambda n: "state=" + "queued," * n)),
    "fields": (200, _query(VOLUMES, lambda n: "fields=" + ",".join(["name"] * n))),
    "sort keys": (200, _query(VOLUMES, lambda n: "sort=" + ",".join(["name"] * n))),
    "page token": (2000, _query(VOLUMES, lambda n: "page_token=" + "A" * n)),
    "where to go after sign-in": (2000, _query("/login", lambda n: "next=/" + "a/" * n)),
    "path": (1000, lambda c, n: lambda: c.get(f"{VOLUMES}/:" + "/a" * n)),
    "path that leads nowhere": (1000, lambda c, n: lambda: c.get("/nothing" + "/a" * n)),
    "dots of a rule": (1000, lambda c, n: lambda: c.put("/v4/filer/export/p/rule/" + "a." * n)),
    "colons of an address": (1000, lambda c, n: lambda: c.put(f"{VOLUMES}/v/locks/" + "1:" * n)),
    "Prefer": (500, _header("Prefer", lambda n: "wait=1, " * n)),
    "Cache-Control": (500, _header("Cache-Control", lambda n: "max-age=1, " * n, VOLUMES)),
    "If-None-Match": (500, _header("If-None-Match", lambda n: '"a", ' * n)),
    "open quotes of If-None-Match": (500, _header("If-None-Match", lambda n: '"' * n)),
    "Accept-Encoding": (500, _header("Accept-Encoding", lambda n: "gzip;q=0.1, " * n, "/metrics")),
    "Accept": (500, _header("Accept", lambda n: "text/html;q=0.1, " * n, "/metrics")),
    "Accept of jobs": (500, _header("Accept", lambda n: "text/html;q=0.1, " * n)),
    "Cookie": (500, _header("Cookie", lambda n: "a=b; " * n, "/conf/me/roles")),
    "bearer token": (500, _header("Authorization", lambda n: "Bearer " + "a." * n, "/conf/me/roles")),
    "password": (500, _header("Authorization", lambda n: "Basic " + "YTph" * n, "/conf/me/roles")),
    "X-Forwarded-For": (500, _header("X-Forwarded-For", lambda n: "192.0.2.1, " * n)),
    "X-Fields": (300, _header("X-Fields", lambda n: "{a" * n, "/v3/filer/volumes")),
    "Last-Event-ID": (1000, _header("Last-Event-ID", lambda n: "1-1-" * n, "/v4/events")),
    "X-Request-ID": (1000, _header("X-Request-ID", lambda n: "a" * n)),
    "Traceparent": (500, _header("Traceparent", lambda n: "00-" * n)),
    "Idempotency-Key": (
        500,
        lambda c, n: lambda: c.post(f"{VOLUMES}/v", json={}, headers={"Idempotency-Key": '"' + "a" * n + '"'}),
    ),
    "Callback-URL": (
        500,
        lambda c, n: lambda: c.post(f"{VOLUMES}/v", json={}, headers={"Callback-URL": "https://h/" + "a/" * n}),
    ),
}
