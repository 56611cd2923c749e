"""Each part of a request has a limit, and costs no more than in proportion to its size."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pytest
import structlog
from werkzeug.utils import import_string

from api.monitoring.request_metrics import EXTENSION as COUNTERS
from api.reads.collection_query import field_types
from api.reads.filter_expressions import compile_expression
from tests.api.front_end import JSON, FrontEnd, accepted, problem
from worker.catalog import resource_types
from worker.catalog.operations import Role
from worker.store.metrics import CounterBuffer

if TYPE_CHECKING:
    from flask.testing import FlaskClient
    from redis import Redis

VOLUMES = "/v4/filer/volumes"
EVENTS = "storage-api-events"


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


@pytest.mark.parametrize("query", ["name=" + "*a" * 99, "sort=" + ",".join(["name"] * 8), "limit=1000"])
def test_a_query_of_maximum_length_is_accepted(client: FlaskClient, query: str):
    accepted(client.get(f"{VOLUMES}?{query}", headers={"Prefer": "respond-async"}))


def test_a_filter_on_every_field_is_possible(client: FlaskClient):

    fields = field_types(resource_types.VOLUMES)
    query = "&".join(f"{name}=null" for name in fields)
    accepted(client.get(f"{VOLUMES}?{query}&fields={','.join(fields)}", headers={"Prefer": "respond-async"}))


def test_each_leading_exclamation_mark_negates_the_expression(client: FlaskClient):
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


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({f"name{number}": 1 for number in range(200)}),
        '{"a":' * 20 + "1" + "}" * 20,
    ],
    ids=["names", "levels"],
)
def test_a_body_of_maximum_size_is_accepted(client: FlaskClient, body: str):
    document = problem(client.post(f"{VOLUMES}/db01", data=body, headers=JSON), 422, "validation-failed")
    assert "limit" not in document


def test_a_url_of_maximum_length_is_accepted(client: FlaskClient):
    path = f"{VOLUMES}?name="
    assert problem(client.get(path + "x" * (8193 - len(path))), 414, "url-too-long")
    accepted(client.get(path + "x" * (8192 - len(path)), headers={"Prefer": "respond-async"}))


def test_problems_of_url_and_headers_state_the_limit(client: FlaskClient):
    assert problem(client.get(f"{VOLUMES}?name={'x' * 9000}"), 414, "url-too-long")["limit"] == "SAPI_MAX_URL_BYTES"
    answer = client.get(VOLUMES, headers={"X-Long": "x" * 17_000})
    assert problem(answer, 431, "headers-too-large")["limit"] == "SAPI_MAX_HEADER_BYTES"


def test_header_separators_count_towards_the_limit(client: FlaskClient):
    """Many empty ones take memory, too: of the default of 16 KiB, these have 12,000 bytes in names and values."""
    many = {f"X-{number:04}": "" for number in range(2000)}
    assert problem(client.get(VOLUMES, headers=many), 431, "headers-too-large")["limit"] == "SAPI_MAX_HEADER_BYTES"


def test_the_number_of_reported_errors_is_limited(client: FlaskClient):
    faults = client.post(f"{VOLUMES}/db01", json={f"name{number}": 1 for number in range(150)})
    assert len(problem(faults, 422, "validation-failed")["errors"]) == 20
    faults = client.get("/v4/filer/volumes/db01?" + "&".join(f"p{number}=1" for number in range(500)))
    assert len(problem(faults, 422, "validation-failed")["errors"]) == 20


LONG = "n" * 4000


QUOTED = {
    "an unknown field": ("POST", f"{VOLUMES}/db01", json.dumps({LONG: 1})),
    "a field that is there twice": ("POST", f"{VOLUMES}/db01", f'{{"{LONG}": 1, "{LONG}": 1}}'),
    "a field of a request that takes none": ("DELETE", f"{VOLUMES}/db01", json.dumps({LONG: 1})),
    "an unknown parameter": ("GET", f"{VOLUMES}/db01?{LONG}=1", ""),
    "a parameter that is there twice": ("GET", f"/v4/jobs?{LONG}=1&{LONG}=1", ""),
    "an unknown address": ("GET", f"/nothing/{LONG}", ""),
    "an unknown address below /v3": ("GET", f"/v3/nothing/{LONG}", ""),
}


@pytest.mark.parametrize("what", QUOTED)
def test_problems_and_log_lines_quote_only_the_beginning(client: FlaskClient, what: str):
    method, path, body = QUOTED[what]
    with structlog.testing.capture_logs() as logged:
        answer = client.open(path, method=method, data=body, headers=JSON if body else {})
    (line,) = [entry for entry in logged if entry["event"] == "request"]
    assert 400 <= answer.status_code < 500
    # Of an address 1,024 characters (in a link 2,048), of a name 100 in the text and 100 in the pointer.
    assert len(line["path"]) <= 1024
    assert len(answer.data) < 2000
    assert max(len(value) for value in answer.headers.values()) < 2200


def test_roles_are_checked_before_bodies_on_every_route(front_end: FrontEnd):
    """The body of a client without the role is not parsed, whether malformed or of another type."""
    paths = {"subsystem": "filer", "volume": "v", "name": "s", "host": "h", "policy": "p", "rule": "r"}
    app, tried = front_end.app(), []
    job = accepted(front_end.client().post(f"{VOLUMES}/new", json={})).rpartition("/")[2]
    strangers = {"stranger": front_end.stranger(), "without roles": front_end.client(Role.USER)}
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


def test_other_spellings_of_a_path_are_not_found(front_end: FrontEnd):
    for path in (
        "//metrics",
        "/%6detrics",
        "/%6Detrics",
        "///healthz",
        "/healthz%2e",
        "/healthz%7E",
        "//v4/jobs",
        "/%764/jobs",
        "/conf//roles",
    ):
        overrides = {"PATH_INFO": unquote(path), "RAW_URI": path, "REQUEST_URI": path}
        document = problem(front_end.client().get("/", environ_overrides=overrides), 404, "not-found")
        assert "without //" in document["detail"], path
    # As Granian has them: decoded, and nothing else.
    for path in ("//metrics", "///healthz", "//v4/jobs", "/conf//roles"):
        overrides = {"PATH_INFO": path, "RAW_URI": "", "REQUEST_URI": ""}
        problem(front_end.client().get("/", environ_overrides=overrides), 404, "not-found")
    assert front_end.client().get("/metrics").status_code == 200
    accepted(front_end.client().get(f"{VOLUMES}/%64b01", headers={"Prefer": "respond-async"}))


@pytest.fixture
def strict(redis_client: Redis, redis_url: str) -> FrontEnd:
    """Whose limits are the lowest that may be set."""
    return FrontEnd(
        redis_url, max_filter_terms=2, max_sort_keys=1, max_body_depth=5, max_body_names=50, max_body_bytes=2000,
        max_url_bytes=256, max_header_bytes=1024, max_bodies=10, max_streams=20, max_waiting=30, user_places_share=10,
    )  # fmt: skip


def test_limits_are_configurable(strict: FrontEnd):
    client = strict.client()
    reached: list[Any] = [
        client.get(f"{VOLUMES}?name=a|b|c"),
        client.get(f"{VOLUMES}?sort=name,state"),
        client.get(f"{VOLUMES}?name={'x' * 256}"),
        client.get(VOLUMES, headers={"X-Much": "x" * 1024}),
        *(
            client.post(f"{VOLUMES}/db01", data=body, headers=JSON)
            for body in (
                json.dumps({f"name{number}": 1 for number in range(51)}),
                '{"a":' * 6 + "1" + "}" * 6,
                '{"a": "' + "x" * 2000 + '"}',
            )
        ),
    ]
    assert [answer.json["limit"].removeprefix("SAPI_MAX_") for answer in reached] == [
        "FILTER_TERMS", "SORT_KEYS", "URL_BYTES", "HEADER_BYTES", "BODY_NAMES", "BODY_DEPTH", "BODY_BYTES",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("accept", "path"),
    [("*/*", VOLUMES), ("text/html", "/console/jobs"), ("text/html", "/v4/jobs"), ("*/*", "/v3/filer/volumes")],
)
def test_a_reached_limit_is_counted_for_json_and_html(
    strict: FrontEnd, accept: str, path: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(CounterBuffer, "flush", lambda _self: None)
    counters = strict.app().extensions[COUNTERS]
    answer = strict.client().get(f"{path}?volume={'x' * 256}", headers={"Accept": accept})
    assert answer.status_code == 414
    assert ("text/html" in answer.content_type) is path.startswith("/console")
    assert counters._counts["limit SAPI_MAX_URL_BYTES"] == 1


def test_the_share_of_one_user_is_configurable(strict: FrontEnd):
    ann = ("ann", False)
    for slots, most in ((strict.services.body_slots, 1), (strict.app().extensions[EVENTS].slots, 2)):
        assert [slots.acquire(ann) for _ in range(most + 1)] == [True] * most + [False]
    with ExitStack() as waiting:
        places = [waiting.enter_context(strict.services.events.slot()) for _ in range(4)]
    assert places == [True, True, True, False]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("api.auth.cached_document.USABLE_S", 24 * 3600.0),
        ("api.auth.provider_http.COMMAND_TIMEOUT_S", 2.0),
        ("api.auth.recent_sign_ins.REMEMBERED_S", 0.25),
        ("api.auth.sessions.SIGN_IN_LIMIT_S", 600),
        ("api.batches.batch_request.MOST_MEMBERS", 1000),
        ("api.events.stream._CHECK_EVERY_S", 5.0),
        ("api.events.stream._HEARTBEAT_S", 15.0),
        ("api.http.admin_server._MOST_CONNECTIONS", 64),
        ("api.http.admin_server._MOST_S", 10.0),
        ("api.http.stalled_clients.TIMEOUT_S", 30),
        ("api.jobs.bulk.MOST_JOBS", 1000),
        ("api.reads.collection_query.MOST_LIMIT", 1000),
        ("api.limits.fair_queue._COOLDOWN_WITHIN_S", 5.0),
        ("api.limits.concurrency_limiter._MAX_WAIT_S", 20.0),
    ],
)
def test_limits_without_a_setting_are_those_documented(name, value):
    """Tests of what happens at these limits put smaller ones in their place."""
    assert import_string(name) == value
