"""Whatever is sent: never a mistake of ours (500), and never an error without a problem document."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.v3.settings import EXTENSION as V3
from tests.api.front_end import FrontEnd
from tests.api.odd_values import HEADER_GROUPS, HEADERS, ODD_VALUES, PARAMETERS

if TYPE_CHECKING:
    from redis import Redis
    from werkzeug.test import TestResponse

_UNAVAILABLE = 503

NAMES = {"subsystem": "filer", "volume": "db01", "name": "s", "host": "h", "policy": "p", "rule": "r", "role": "ADMIN"}
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "get", "QUERY"]
BODIES = [
    b"",
    b"{}",
    b"[]",
    b"null",
    b'{"size_total": 1e400}',
    b"{" * 300,
    b"\xff\xfe",
    b'{"name": "\\u0000"}',
    b'{"rules": [null]}',
]


@pytest.fixture(scope="module")
def front_end(redis_url: str) -> FrontEnd:
    """Reads and changes are recorded, and no request waits for them; a stream would not end, so there are none."""
    made = FrontEnd(redis_url, user_groups=(), read_wait=0, max_wait=0, max_streams=0)
    app = made.app()
    changed = app.extensions[V3].settings.model_copy(update={"v3_wait": 0.01})
    app.extensions[V3] = replace(app.extensions[V3], settings=changed)
    return made


@pytest.fixture(autouse=True)
def _empty(redis_client: Redis) -> None:
    """Each test begins with an empty Redis."""


def routes(front_end: FrontEnd) -> list[tuple[str, str]]:
    """Every route with every method that it takes, its placeholders filled in."""
    app = front_end.app()
    adapter = app.url_map.bind("localhost")
    pairs = []
    for rule in app.url_map.iter_rules():
        values = {name: NAMES.get(name, "01990b7e-6c1e-7c55-9d0a-4b7c2f6e1a90") for name in rule.arguments}
        pairs += [(method, adapter.build(rule.endpoint, values)) for method in sorted(rule.methods or ())]
    return pairs


def send(
    front_end: FrontEnd, method: str, path: str, *, query: str = "", headers: Any = (), body: bytes = b""
) -> TestResponse:
    """Send it as a user with every role, unless it has an Authorization of its own."""
    client = front_end.client()
    if any(name == "Authorization" for name, _ in headers):
        del client.environ_base["HTTP_AUTHORIZATION"]
    return client.open(path, method=method, query_string=query, headers=list(headers), data=body)


def check(answer: TestResponse, what: object) -> None:
    """Hold the answer to the rule."""
    assert answer.status_code < 500 or answer.status_code in (_UNAVAILABLE, 501, 504), (
        what,
        answer.status_code,
        answer.data,
    )
    if answer.status_code >= 400 and answer.request.method != "HEAD":
        assert answer.data, what
        # The predecessor's interface answers in its own form.
        if "text/html" not in answer.content_type and not answer.request.path.startswith("/v3"):
            assert answer.content_type == "application/problem+json", (what, answer.content_type)
            document: Any = answer.json
            assert document["detail"], what


def sendable(value: str) -> str:
    """As a server would take it from the wire: a header has no line breaks, and its bytes are read as Latin-1."""
    return (
        value.encode("utf-8", "surrogatepass")
        .decode("latin-1")
        .replace("\n", " ")
        .replace("\r", " ")
        .replace("\0", " ")
    )


#: Requests of several kinds, of which each odd value meets one.
REQUESTS = [
    ("GET", "/v4/filer/volumes"), ("POST", "/v4/filer/volumes/db01"), ("GET", "/v4/jobs"), ("GET", "/metrics"),
    ("GET", "/v4/events"), ("POST", "/v4/batches"), ("GET", "/v3/filer/volumes"),
    ("PUT", "/v3/filer/volumes/v/locks/h"), ("GET", "/console/"), ("POST", "/console/jobs/x/cancel"),
    ("POST", "/v4/jobs/cancel"),
]  # fmt: skip
COLLECTIONS = [
    "/v4/filer/volumes", "/v4/filer/export", "/v4/filer/volumes/v/snapshots", "/v4/jobs", "/login", "/oauth-done",
    "/console/jobs", "/v4/events", "/v3/filer/volumes", "/console/", "/console/volumes/filer", "/v4/filer/restricted",
]  # fmt: skip


@pytest.mark.parametrize("group", HEADER_GROUPS, ids=lambda group: group[0])
def test_unusual_headers_cause_no_internal_error(front_end: FrontEnd, group: list[str]):
    for number in range(len(ODD_VALUES)):
        method, path = REQUESTS[(number + len(group[0])) % len(REQUESTS)]
        # Each header meets each value, and another one than its neighbours have.
        values = {header: ODD_VALUES[(number + 7 * place) % len(ODD_VALUES)] for place, header in enumerate(group)}
        sent = [(header, sendable(value)) for header, value in values.items() if _may_be_sent(header, value)]
        second = [(header, "second") for header in values if number % 2 and header != "Content-Length"]
        check(send(front_end, method, path, headers=sent + second), (values, method, path))


def _may_be_sent(header: str, value: str) -> bool:
    return header != "Content-Length" or value.isdecimal()


@pytest.mark.parametrize("parameter", PARAMETERS)
def test_unusual_parameters_cause_no_internal_error(front_end: FrontEnd, parameter: str):
    for number, value in enumerate(ODD_VALUES, PARAMETERS.index(parameter)):
        text = value if value.startswith("%") else quote(value, errors="surrogatepass")
        path = COLLECTIONS[number % len(COLLECTIONS)]
        check(send(front_end, "GET", path, query=f"{parameter}={text}"), (parameter, value, path))


def test_unusual_names_cause_no_internal_error(front_end: FrontEnd):
    for number, value in enumerate(ODD_VALUES):
        text = quote(value, safe="", errors="surrogatepass")
        for path in (
            f"/v4/{text}/volumes", f"/v4/filer/volumes/{text}", f"/v4/filer/volumes/v/snapshots/{text}",
            f"/v4/filer/volumes/v/locks/{text}", f"/v4/filer/export/{text}", f"/v4/filer/export/p/rule/{text}",
            f"/v4/jobs/{text}", f"/v4/jobs/{text}/result", f"/conf/roles/{text}/am_i_a", f"/problems/{text}",
            f"/{text}", f"/console/jobs/{text}", f"/console/{text}",
        ):  # fmt: skip
            check(send(front_end, ("GET", "PUT")[number % 2], path), (value, path))


def test_every_route_takes_every_method_and_body(front_end: FrontEnd):
    pairs = routes(front_end)
    assert len(pairs) > 60
    for number, path in enumerate(dict.fromkeys(path for _, path in pairs)):
        for turn, method in enumerate(METHODS, number):
            body = BODIES[turn % len(BODIES)]
            check(
                send(front_end, method, path, headers=[("Content-Type", "application/json")], body=body),
                (method, path, body),
            )


ANY_LENGTH = [header for header in HEADERS if header != "Content-Length"]
_TEXTS = st.one_of(
    st.sampled_from(ODD_VALUES), st.text(max_size=40), st.from_regex(r"[0-9TZ:.+\-]{1,40}", fullmatch=True)
)


@given(data=st.data())
@settings(max_examples=60)
def test_random_requests_cause_no_internal_error(front_end: FrontEnd, data: st.DataObject):
    method, path = data.draw(st.sampled_from(routes(front_end)))
    headers = data.draw(st.lists(st.tuples(st.sampled_from(ANY_LENGTH), _TEXTS.map(sendable)), max_size=4))
    query = data.draw(st.lists(st.tuples(st.sampled_from(PARAMETERS), _TEXTS), max_size=3))
    body = data.draw(st.one_of(st.sampled_from(BODIES), st.binary(max_size=60)))
    answer = send(front_end, method, path, query=urlencode(query, errors="surrogatepass"), headers=headers, body=body)
    check(answer, (method, path, headers, query, body))
