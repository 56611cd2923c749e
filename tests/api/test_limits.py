"""Each part of a request has a limit, and costs no more than in proportion to its size."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pytest

from api.reads.collection_query import field_types
from api.reads.filter_expressions import compile_expression
from tests.api.front import JSON, Front, accepted, problem
from worker.catalog import resource_types
from worker.catalog.operations import Role

if TYPE_CHECKING:
    from flask.testing import FlaskClient

VOLUMES = "/v4/filer/volumes"


@pytest.mark.parametrize(
    ("query", "limit"),
    [
        ("name=" + "|".join("*x*" for _ in range(50)), "SAPI_MAX_FILTER_TERMS"),
        ("name=" + "*a" * 101, "SAPI_MAX_FILTER_TERMS"),
        ("name=" + "|".join("abc" for _ in range(101)), "SAPI_MAX_FILTER_TERMS"),
        ("&".join(f"name=x{number}" for number in range(101)), "SAPI_MAX_FILTER_TERMS"),
        ("sort=" + ",".join(["name"] * 9), "SAPI_MAX_SORT_KEYS"),
    ],
)
def test_queries_have_limits(client: FlaskClient, query: str, limit: str):
    document = problem(client.get(f"{VOLUMES}?{query}"), 422, "validation-failed")
    assert document["limit"] == limit
    assert any(character.isdigit() for character in document["detail"]), "it says how much is possible"


def test_a_filter_on_every_field_is_possible(client: FlaskClient):

    fields = field_types(resource_types.VOLUMES)
    query = "&".join(f"{name}=null" for name in fields)
    accepted(client.get(f"{VOLUMES}?{query}&fields={','.join(fields)}", headers={"Prefer": "respond-async"}))


def test_exclamation_marks_turn_the_whole_round_each(client: FlaskClient):
    assert compile_expression("!" * 7001 + "a", str)("a") is False
    assert compile_expression("!" * 7000 + "a", str)("a") is True


@pytest.mark.parametrize(
    ("body", "status", "limit"),
    [
        (json.dumps({f"name{number}": 1 for number in range(201)}), 422, "SAPI_MAX_BODY_NAMES"),
        ('{"a":' * 21 + "1" + "}" * 21, 400, "SAPI_MAX_BODY_DEPTH"),
        ('{"a": "' + "x" * 1_100_000 + '"}', 413, "SAPI_MAX_BODY_BYTES"),
    ],
)
def test_bodies_have_limits(client: FlaskClient, body: str, status: int, limit: str):
    answer = client.post(f"{VOLUMES}/db01", data=body, headers=JSON)
    document: Any = answer.json
    assert (answer.status_code, document["limit"]) == (status, limit)


def test_url_and_headers_name_their_limits(client: FlaskClient):
    assert problem(client.get(f"{VOLUMES}?name={'x' * 9000}"), 414, "url-too-long")["limit"] == "SAPI_MAX_URL_BYTES"
    answer = client.get(VOLUMES, headers={"X-Long": "x" * 17_000})
    assert problem(answer, 431, "headers-too-large")["limit"] == "SAPI_MAX_HEADER_BYTES"


def test_an_answer_names_no_more_than_some_faults(client: FlaskClient):
    faults = client.post(f"{VOLUMES}/db01", json={f"name{number}": 1 for number in range(150)})
    assert len(problem(faults, 422, "validation-failed")["errors"]) == 20
    faults = client.get("/v4/filer/volumes/db01?" + "&".join(f"p{number}=1" for number in range(500)))
    assert len(problem(faults, 422, "validation-failed")["errors"]) == 20


def test_roles_are_asked_for_before_bodies_on_every_route(front: Front):
    """Neither a broken body nor one of the wrong kind is looked at for somebody who may not send it."""
    paths = {"subsystem": "filer", "volume": "v", "name": "s", "host": "h", "policy": "p", "rule": "r"}
    app, tried = front.app(), []
    job = accepted(front.client().post(f"{VOLUMES}/new", json={})).rpartition("/")[2]
    strangers = {"stranger": front.stranger(), "without roles": front.client(Role.USER)}
    adapter = app.url_map.bind("localhost")
    for rule in app.url_map.iter_rules():
        view = app.view_functions[rule.endpoint]
        for method in (rule.methods or set()) & {"POST", "PUT", "PATCH", "DELETE"}:
            of_class = getattr(view, "view_class", None)
            access = getattr(getattr(of_class, method.lower()) if of_class else view, "access", None)
            values = {name: paths.get(name, job) for name in rule.arguments}
            for who, client in strangers.items():
                if access in (None, "anyone") and "/jobs/" not in rule.rule:
                    continue
                if access == "signed in" and who == "without roles":
                    continue
                if access == Role.USER:
                    continue
                answer = client.open(
                    adapter.build(rule.endpoint, values, method), method=method, data=b'{"broken', headers=JSON
                )
                assert answer.status_code in (401, 403, 404), (rule.rule, method, who, answer.status_code, answer.data)
                tried.append(rule.rule)
    assert len(tried) > 25


# --- growth


def _time_of(call: Callable[[], object]) -> float:
    """The shortest of a few runs, in CPU time: what else runs on the machine counts little."""
    times = []
    gc.disable()
    for _ in range(2):
        began = time.thread_time()
        call()
        times.append(time.thread_time() - began)
    gc.enable()
    return min(times)


def _body_of(size: int) -> str:
    return "{" + ",".join(f'"name{number}":{number}' for number in range(size)) + f',"name{size - 1}":1}}'


def _ask(client: FlaskClient, path: str = VOLUMES, **headers: str) -> Callable[[], object]:
    return lambda: client.get(path, headers=headers)


def ask(client: FlaskClient, path: str) -> object:
    return client.get(path, headers={"Prefer": "respond-async"})


#: What is sent, by its size; each is tried with a size and with ten times as much.
INPUTS: dict[str, tuple[int, Callable[[Any, int], Callable[[], object]]]] = {
    "names of a body": (1500, lambda c, n: lambda: c.post(f"{VOLUMES}/v", data=_body_of(n), headers=JSON)),
    "nesting": (1500, lambda c, n: lambda: c.post(f"{VOLUMES}/v", data="[" * n, headers=JSON)),
    "list of a body": (
        2000,
        lambda c, n: lambda: c.post("/v4/filer/export/p", json={"rules": [f"h{i}" for i in range(n)]}, headers=JSON),
    ),
    "digits of a body": (
        2000,
        lambda c, n: lambda: c.post(f"{VOLUMES}/v", data=f'{{"size_total": {"9" * n}}}', headers=JSON),
    ),
    "quotes of a filter": (1500, lambda c, n: lambda: ask(c, f"{VOLUMES}?name=" + 'a"' * n)),
    "bars of a filter": (1500, lambda c, n: lambda: ask(c, f"{VOLUMES}?name=" + "|" * n)),
    "stars of a filter": (1500, lambda c, n: lambda: ask(c, f"{VOLUMES}?name=" + "*" * n)),
    "negations of a filter": (1500, lambda c, n: lambda: ask(c, f"{VOLUMES}?name=" + "!" * n)),
    "parameters": (500, lambda c, n: lambda: c.get(f"{VOLUMES}?" + "&".join(f"p{i}=1" for i in range(n)))),
    "parameters of a job list": (500, lambda c, n: lambda: c.get("/v4/jobs?" + "&".join(f"p{i}=1" for i in range(n)))),
    "ids of a job list": (200, lambda c, n: lambda: c.get("/v4/jobs?id=" + ",".join(f"{i:036}" for i in range(n)))),
    "fields": (1000, lambda c, n: lambda: ask(c, f"{VOLUMES}?fields=" + ",".join(["name"] * n))),
    "page token": (5000, lambda c, n: lambda: c.get(f"{VOLUMES}?page_token=" + "A" * n)),
    "path": (5000, lambda c, n: lambda: c.get(f"{VOLUMES}/:" + "/a" * n)),
    "dots of a rule": (5000, lambda c, n: lambda: c.put("/v4/filer/export/p/rule/" + "a." * n)),
    "Prefer": (1500, lambda c, n: _ask(c, "/v4/jobs", Prefer="wait=1, " * n)),
    "Cache-Control": (1500, lambda c, n: _ask(c, "/v4/jobs", **{"Cache-Control": "max-age=1, " * n})),
    "If-None-Match": (1500, lambda c, n: _ask(c, "/v4/jobs", **{"If-None-Match": '"a", ' * n})),
    "open quotes of If-None-Match": (1500, lambda c, n: _ask(c, "/v4/jobs", **{"If-None-Match": '"' * n})),
    "Accept-Encoding": (1500, lambda c, n: _ask(c, "/metrics", **{"Accept-Encoding": "gzip;q=0.1, " * n})),
    "Accept": (1500, lambda c, n: _ask(c, "/metrics", Accept="text/html;q=0.1, " * n)),
    "Cookie": (1500, lambda c, n: _ask(c, "/conf/me/roles", Cookie="a=b; " * n)),
    "Authorization": (1500, lambda c, n: _ask(c, "/conf/me/roles", Authorization="Bearer " + "a." * n)),
}


@pytest.fixture(scope="module")
def unlimited(redis_url: str) -> Front:
    """Where limits on bytes do not hide what is behind them."""
    return Front(redis_url, max_body_bytes=10**7, max_url_bytes=10**6, max_header_bytes=10**6, max_body_names=10**6)


@pytest.mark.parametrize("what", INPUTS)
def test_ten_times_as_much_costs_ten_times_as_much(unlimited: Front, redis_client: Any, what: str):
    size, make = INPUTS[what]
    client = unlimited.client()
    small, large = make(client, size), make(client, 10 * size)
    # What is quadratic takes a hundred times as long; what takes no time at all is no danger.
    ratio = _time_of(large) / max(_time_of(small), 0.001)
    assert ratio < 35, (what, ratio)


@pytest.mark.parametrize("text", ["*a" * 45 + "*b", "*" * 99, "a*" * 49 + "|" + "*b" * 49])
def test_wildcards_take_no_time_of_their_own(text: str):
    fits = compile_expression(text, str)
    short, long = "a" * 2_000, "a" * 20_000
    ratio = _time_of(lambda: [fits(long) for _ in range(20)]) / max(
        _time_of(lambda: [fits(short) for _ in range(20)]), 0.001
    )
    assert ratio < 35


def test_other_spellings_of_a_path_lead_nowhere(front: Front):
    for path in (
        "//metrics",
        "/%6detrics",
        "/%6Detrics",
        "///healthz",
        "/healthz%2e",
        "//v4/jobs",
        "/%764/jobs",
        "/conf//roles",
    ):
        overrides = {"PATH_INFO": unquote(path), "RAW_URI": path, "REQUEST_URI": path}
        problem(front.client().get("/", environ_overrides=overrides), 404, "not-found")
    assert front.client().get("/metrics").status_code == 200
    accepted(front.client().get(f"{VOLUMES}/%64b01", headers={"Prefer": "respond-async"}))
