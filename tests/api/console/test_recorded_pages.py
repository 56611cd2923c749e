"""What the console shows and asks of the API in every case, as it is recorded: a change shows in a review.

``make pages`` records it anew, in `recorded/pages`: after a change that is meant.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime, tzinfo
from difflib import unified_diff
from itertools import takewhile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self
from unittest.mock import Mock
from urllib.parse import unquote, urlsplit

import pytest
import redis
from werkzeug.test import TestResponse

from api.console.job_links import CHANGES
from api.schemas.base import Schema
from api.schemas.jobs import JobSchema, ProblemSchema
from api.schemas.resources import SnapshotSchema, VolumeSchema
from tests.api.console.recorded.answers import Answer, AnsweringApi, listing, one
from tests.api.console.recorded.cases import ACTIONS, VOLUMES, Case
from tests.api.console.recorded.cases_of_jobs import JOBS, OVERVIEW, POLICIES, QUIET, STATES
from tests.api.console.recorded.documents import NOW, job, problem, queued, snapshot, volume
from tests.api.console.recorded.outline import outline_of
from tests.api.console.routes import routes_of
from tests.api.front_end import FrontEnd

_PAGES = Path(__file__).with_name("recorded") / "pages"
CASES = VOLUMES | ACTIONS | JOBS | POLICIES | OVERVIEW
#: Headers in which answers of the console differ.
_HEADERS = ("Location", "Content-Disposition", "Cache-Control", "Vary", "Retry-After", "WWW-Authenticate")
#: Headers of a request that say in what form, how fresh, or under which condition the page is wanted.
_OF_THE_PAGE = (
    "Accept", "Accept-Encoding", "Cache-Control", "If-Match", "If-Modified-Since", "If-None-Match", "If-Range",
    "If-Unmodified-Since", "Pragma", "Prefer", "Range", "Idempotency-Key",
)  # fmt: skip
_NOW = datetime.fromisoformat(NOW)
#: How a record begins that says how a page differs from another one.
_AS = "as "
#: Jobs by the hour of the day at which a quarter of an hour ended, that is until now.
_DAY = {
    3.0: {"succeeded": 40, "failed": 0, "cancelled": 1, "run_s": 82.0},
    3.25: {"succeeded": 0, "failed": 0, "cancelled": 0, "run_s": 0.0},
    14.0: {"succeeded": 10, "failed": 30, "cancelled": 0, "run_s": 20.0},
    24.0: {"succeeded": 0, "failed": 0, "cancelled": 3, "run_s": 9.0},
}


class _Frozen(datetime):
    """A clock that stands still."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        return cls.fromtimestamp(_NOW.timestamp(), tz)


@pytest.fixture(scope="module")
def open_front_end(redis_url: str) -> FrontEnd:
    """One whose pages all clients may read."""
    return FrontEnd(redis_url, user_groups=())


@pytest.fixture
def _at_one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("formatting", "charts", "overview"):
        monkeypatch.setattr(f"api.console.{module}.datetime", _Frozen)
    monkeypatch.setattr("api.console.overview.time", SimpleNamespace(time=_NOW.timestamp))
    monkeypatch.setattr("secrets.token_hex", lambda count: "ab" * count)


def _set_state(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    is_away = name == "overview-without-redis"
    state = Mock(side_effect=redis.ConnectionError) if is_away else Mock(return_value=QUIET | STATES.get(name, {}))
    monkeypatch.setattr("api.console.overview.status_values", state)
    day_s = _NOW.timestamp() - 86400
    ends = {day_s + hour * 3600: figures for hour, figures in _DAY.items()}
    # The last one is still going on.
    history = [{"from": at - (5 if at == max(ends) else 900), "at": at, **figures} for at, figures in ends.items()]
    monkeypatch.setattr("api.monitoring.service_status.history", lambda _services: history if name in STATES else [])


def _lines(case: Case, answer: TestResponse, asked: list[str]) -> Iterator[str]:
    yield f"{'GET' if case.form is None else 'POST'} {case.address}"
    yield from (f"asks {line}" for line in asked)
    yield f"answers {answer.status_code} {answer.content_type}"
    yield from (f"{name}: {answer.headers[name]}" for name in _HEADERS if name in answer.headers)
    if answer.mimetype != "text/html":
        yield from answer.text.splitlines()
    elif "Location" not in answer.headers:
        yield from outline_of(answer.text, with_frame=case.with_frame)


def _recorded(name: str) -> str:
    return (_PAGES / f"{name}.txt").read_text("utf-8")


def _subject(name: str) -> str:
    """What a case is about: the first word of its name."""
    return name.removeprefix("send-").removeprefix("form-").partition("-")[0]


def _written(name: str, page: str) -> str:
    """The page, or how it differs from a similar one that comes earlier, which is recorded as a whole."""
    earlier = takewhile(lambda other: other != name, CASES)
    similar = [other for other in earlier if _subject(name) == _subject(other)]
    wholes = [(other, _recorded(other)) for other in similar]
    changes = [_changes(other, whole, page) for other, whole in wholes if not whole.startswith(_AS)]
    return min([page, *changes], key=len)


def _changes(other: str, whole: str, page: str) -> str:
    _, _, *changed = unified_diff(whole.splitlines(), page.splitlines(), n=0, lineterm="") or ("", "")
    return "\n".join([f"{_AS}{other}, but:", *("" if line.startswith("@@") else line for line in changed)]) + "\n"


@pytest.mark.parametrize(
    ("schema", "document"),
    [
        (VolumeSchema(), volume()), (SnapshotSchema(), snapshot("s")), (ProblemSchema(), problem("queue-full")),
        (JobSchema(), job()), (JobSchema(), queued(1, "retrying", 7)),
    ],
)  # fmt: skip
def test_documents_match_the_schemas_of_the_api(schema: Schema, document: dict[str, Any]) -> None:
    assert schema.validate(document) == {}
    # These are there for some jobs and problems only.
    rare = {"children", "trace_id", "instance", "errors", "backend_error", "limit"}
    assert set(document) == set(schema.fields) - rare


@pytest.mark.usefixtures("_at_one_moment")
@pytest.mark.parametrize("name", CASES)
def test_the_page_is_as_recorded(
    name: str, front_end: FrontEnd, open_front_end: FrontEnd, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = CASES[name]
    client = open_front_end.stranger() if case.roles is None else front_end.client(*case.roles)
    client.application.extensions.pop("storage-api-console-capacity", None)
    _set_state(name, monkeypatch)
    known = SimpleNamespace(subsystems=case.systems, config=SimpleNamespace(flower_url=case.flower_url))
    monkeypatch.setattr("api.console.pages.current_services", lambda: known)
    api = AnsweringApi(case.answers)
    monkeypatch.setattr("api.console.api_client.run_wsgi_app", api)
    method = "GET" if case.form is None else "POST"
    answer = client.open(case.address, method=method, data=case.form, headers=case.headers)
    page = "\n".join(_lines(case, answer, api.asked)).replace(CHANGES, "CHANGES") + "\n"
    if os.environ.get("RECORD_PAGES"):
        (_PAGES / f"{name}.txt").write_text(_written(name, page), "utf-8")
    assert _written(name, page) == _recorded(name)


def test_calls_of_the_api_have_the_credentials_but_not_the_conditions_of_the_request(
    front_end: FrontEnd, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = AnsweringApi(CASES["volume"].answers)
    monkeypatch.setattr("api.console.api_client.run_wsgi_app", api)
    client, sent = front_end.client(), {"Traceparent": "t", "X-Forwarded-For": "192.0.2.1"}
    client.environ_base |= dict.fromkeys(("RAW_URI", "REQUEST_URI"), CASES["volume"].address)
    client.set_cookie("x", "y")
    assert client.get(CASES["volume"].address, headers=sent | dict.fromkeys(_OF_THE_PAGE, "1")).status_code == 200
    # These two are those of the call.
    assert api.headers & set(_OF_THE_PAGE) == {"Accept", "Prefer"}
    assert api.headers >= {"Authorization", "Cookie", *sent}
    assert not {"RAW_URI", "REQUEST_URI"} & api.environ.keys()


@pytest.mark.parametrize("state", ["offline", "restricted", "mixed", "error", "online"])
def test_volumes_that_are_not_online_are_marked(
    front_end: FrontEnd, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    case = CASES["volume"]
    changed = {
        "GET /v4/filer/volumes/db01": one(volume(state=state)),
        "GET /v4/filer/volumes": listing([volume(state=state)]),
    }
    monkeypatch.setattr("api.console.api_client.run_wsgi_app", AnsweringApi({**case.answers, **changed}))
    for address in (case.address, "/console/filer/volumes"):
        page = front_end.client().get(address).text
        assert (f'<span class="state state-failed">{state}</span>' in page) is (state != "online"), address


def test_names_with_any_characters_are_requested_unchanged(
    front_end: FrontEnd, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = "/v4/filer/volumes/dä€日"
    api = AnsweringApi({f"GET {path}": Answer(problem("no-such-volume"), 404)})
    monkeypatch.setattr("api.console.api_client.run_wsgi_app", api)
    assert front_end.client().get(path.replace("/v4", "/console")).status_code == 404
    assert [line.partition(" Prefer")[0] for line in api.asked] == [f"GET {path}"]


def test_calls_of_a_page_have_the_address_of_its_proxy(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    api = AnsweringApi(CASES["volume"].answers)
    monkeypatch.setattr("api.console.api_client.run_wsgi_app", api)
    client = FrontEnd(redis_url, auth={"trusted_networks": ("198.51.100.0/24",)}).client()
    through = {"headers": {"X-Forwarded-For": "192.0.2.1"}, "environ_base": {"REMOTE_ADDR": "198.51.100.7"}}
    assert client.get(CASES["volume"].address, **through).status_code == 200
    # The middleware of the API takes the client's address from the header, as it did for the page.
    assert api.environ["REMOTE_ADDR"] == "198.51.100.7"
    assert api.environ["HTTP_X_FORWARDED_FOR"] == "192.0.2.1"


def test_each_route_is_recorded_and_nothing_else(front_end: FrontEnd) -> None:
    adapter, recorded = front_end.app().url_map.bind("localhost"), set()
    for case in CASES.values():
        method = "GET" if case.form is None else "POST"
        rule, _ = adapter.match(urlsplit(unquote(case.address)).path, method, return_rule=True)
        recorded.add((method, rule.rule))
    assert recorded >= routes_of(front_end)
    assert {path.stem for path in _PAGES.iterdir()} == set(CASES)
