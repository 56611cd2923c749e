"""Access to /v3, and what every response, audit line and metric says about it."""

from __future__ import annotations

import json
import logging
from unittest.mock import Mock

import pytest

from api import auth
from api.app import LONGEST_REQUEST_S
from api.http.problems import Problem
from api.limits.concurrency_limiter import ConcurrencyLimiter
from api.v3 import access
from api.v3.settings import V3Settings
from tests.api.front_end import ALL, FrontEnd
from worker.catalog.operations import OPERATIONS, Role
from worker.config.settings import BadSettings, load

OLD_IDS = {
    "get_volumes", "get_volume", "post_volume", "patch_volume", "delete_volume", "get_all_snapshots", "get_snapshots",
    "post_snapshots", "delete_snapshots", "get_all_locks", "put_locks", "delete_locks", "get_all_exports", "get_export",
    "post_export", "delete_export", "put_export_rule", "delete_export_rule",
}  # fmt: skip
VALUES = {"subsystem": "nope", "volume": "v", "name": "s", "host": "h", "policy": "p", "rule": "r"}
CHANGE = "/v3/dummy/volumes/a%20b"


def routes(app):
    """Method, path and view of each route, on a storage system that does not exist: clients with the role get 404."""
    for rule in app.url_map.iter_rules():
        if rule.rule.startswith("/v3/"):
            view_class = app.view_functions[rule.endpoint].view_class
            for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
                with app.test_request_context():
                    values = {name: VALUES[name] for name in rule.arguments}
                    path = app.url_map.bind("localhost").build(rule.endpoint, values, method)
                yield method, path, getattr(view_class, method.lower())


#: Operations that the predecessor did not have.
_NEWER = {"list_restricted_volumes", "reinstate_volume"}


def test_every_operation_is_there_by_its_old_name(front_end):
    views = [view for _, _, view in routes(front_end.app())]
    assert {view.operation_id for view in views} == {f"v3_{name}" for name in OLD_IDS}
    assert len(views) == 18
    served = {operation.name for view in views for operation in view.operations}
    assert served == OPERATIONS.keys() - _NEWER
    assert all(view.access is operation.role for view in views for operation in view.operations)


@pytest.mark.parametrize("role", Role)
def test_each_route_requires_the_role_of_its_operation(front_end, role):
    without, only = front_end.client(*set(ALL) - {role}), front_end.client(role)
    served = list(routes(front_end.app()))
    assert len(served) == 18
    for method, path, view in served:
        needed = view.access is role
        refused, passed = without.open(path, method=method), only.open(path, method=method)
        assert (refused.status_code == 403) is needed, (method, path)
        assert (passed.status_code == 403) is not needed, (method, path)
        if needed:
            assert refused.json == {"message": f"The current user is not in role {role}_ROLE"}
            assert passed.json == {"message": "No such subsystem. Allowed values are: filer, other"}


def test_anonymous_clients_get_403_where_there_are_user_groups(front_end):
    all_routes = list(routes(front_end.app()))
    assert len(all_routes) == 18
    for method, path, view in all_routes:
        answer = front_end.stranger().open(path, method=method, data=b"{")
        assert answer.status_code == 403
        assert answer.json == {"message": f"The current user is not in role {view.access}_ROLE"}
        assert "WWW-Authenticate" not in answer.headers


@pytest.mark.parametrize("header", ["Bearer dummytoken", "Basic d3Jvbmc6d3Jvbmc=", "Nonsense", "Bearer", ""])
class TestAuthorization:
    def test_an_authorization_header_is_ignored_with_a_session(self, idle, header):
        client = idle.service.app.test_client()
        client.get("/login")
        answer = client.delete(CHANGE, headers={"Authorization": header})
        assert (answer.status_code, answer.json) == (400, {"message": "Invalid volume name"})

    def test_an_authorization_header_alone_gives_no_role(self, idle, header):
        client = idle.service.app.test_client()
        assert client.delete(CHANGE, headers={"Authorization": header}).status_code == 403
        assert client.get(CHANGE, headers={"Authorization": header}).status_code == 400


def test_a_password_is_used_without_a_session(idle):
    assert idle("DELETE", "/dummy/volumes/a%20b").status_code == 400


def test_a_password_is_ignored_with_a_session(idle, audited):
    client = idle.service.app.test_client()
    client.get("/login")
    client.delete(CHANGE, auth=("admin", "secret"))
    assert audited()[-1]["who"] == "developer"


def test_a_cookie_header_with_a_trailing_separator_is_parsed(idle):
    client = idle.service.app.test_client()
    cookie, *attributes = client.get("/login").headers["Set-Cookie"].split("; ")
    # V3Client clients pick cookies by the path / and by the API's own host.
    assert "Path=/" in attributes
    assert not any(attribute.lower().startswith("domain") for attribute in attributes)
    bare = idle.service.app.test_client(use_cookies=False)
    sent = {"Cookie": f"{cookie}; ", "Authorization": "Bearer dummytoken", "Content-Type": "application/json"}
    assert bare.delete(CHANGE, headers=sent).status_code == 400


def test_a_page_of_another_site_changes_nothing(idle):
    client = idle.service.app.test_client()
    client.get("/login")
    sent = {"Origin": "https://evil.example.org", "Sec-Fetch-Site": "cross-site", "Authorization": "Bearer dummytoken"}
    answer = client.delete(CHANGE, headers=sent)
    assert answer.status_code == 403
    assert "another site" in answer.json["message"]


def test_every_response_names_its_replacement(make_v3):
    old = make_v3(
        v3_wait=1, v3_deprecated="2026-12-31", v3_sunset="2027-06-01", v3_manual_url="https://m.example.org/x"
    )
    for path, status in (("/dummy/volumes/a%20b", 400), ("/nothing", 404), ("/dummy/volumes/a/", 404)):
        answer = old("GET", path)
        assert answer.status_code == status
        assert answer.headers["Deprecation"] == "@1798675200"
        assert answer.headers["Sunset"] == "Tue, 01 Jun 2027 00:00:00 GMT"
        successor, manual = answer.headers.getlist("Link")
        assert successor == f'</v4{path}>; rel="successor-version"'
        assert manual == '<https://m.example.org/x>; rel="deprecation"; type="text/html"'
        assert answer.headers["X-Request-ID"]
    # No part of a path that is too long is named: it would be another URL.
    longest = "a" * (2048 - len("/v4/"))
    links = [old("GET", f"/{path}").headers.getlist("Link") for path in (longest, f"{longest}a")]
    assert [len(both) for both in links] == [2, 1]
    mounted = old.service.app.test_client().get("/v3/nothing", environ_overrides={"SCRIPT_NAME": "/below"})
    assert mounted.headers.getlist("Link")[0] == '</below/v4/nothing>; rel="successor-version"'


def test_held_requests_are_not_disconnected(make_v3):
    """What the server's watch on stalled clients goes by."""
    for wait_s, longest_s in ((5, 25), (600, 600)):
        assert make_v3(v3_wait=wait_s).service.app.config[LONGEST_REQUEST_S] == longest_s


def test_the_api_can_be_switched_off(make_v3):
    old = make_v3(v3="false")
    for method in ("GET", "POST", "OPTIONS"):
        assert set(old(method, "/dummy/volumes").json) == {"message"}
        assert old(method, "/dummy/volumes").status_code == 404
    assert "/v3/{subsystem}/volumes" not in old.service.app.test_client().get("/openapi.json").json["paths"]
    assert old.service.get("nope").headers.get("Deprecation") is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("V3_WAIT", "0"),
        ("V3_WAIT", "601"),
        ("V3_SUNSET", "soon"),
        ("V3_MANUAL_URL", "a>b"),
        ("V3_MANUAL_URL", "https://m.example.org/é"),
    ],
)
def test_an_invalid_setting_is_reported(monkeypatch, name, value):
    monkeypatch.setenv(f"SAPI_{name}", value)
    with pytest.raises(BadSettings, match=f"SAPI_{name}"):
        load(V3Settings)


def test_the_document_lists_v3_separately_as_deprecated(front_end):
    document = front_end.stranger().get("/openapi.json").json
    operations = [
        (path, operation)
        for path, item in document["paths"].items()
        for operation in item.values()
        if isinstance(operation, dict) and "operationId" in operation
    ]
    old = [operation for path, operation in operations if path.startswith("/v3/")]
    assert {operation["operationId"] for operation in old} == {f"v3_{name}" for name in OLD_IDS}
    assert all(operation["deprecated"] and operation["tags"] == ["v3"] for operation in old)
    assert not any(operation.get("deprecated") for path, operation in operations if not path.startswith("/v3/"))


def _metrics(ask):
    """The metrics with all that was counted until now, also by other tests of this process."""
    ask.service.app.extensions["storage-api-counters"].flush()
    return ask.service.app.test_client().get("/metrics").text


def _timed(text, method):
    """How many requests with this method the time histogram has."""
    name = f'sapi_http_request_seconds_count{{method="{method}",route="/v3/'
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name))


def _counted(text, operation, status):
    """How many requests of this operation were answered with this status."""
    name = f'sapi_api_requests_total{{api="v3",operation="{operation}",status="{status}"}} '
    return sum(float(line.removeprefix(name)) for line in text.splitlines() if line.startswith(name))


@pytest.fixture
def audited(caplog):
    """Returns the events that were written to the audit log meanwhile."""
    logger = logging.getLogger("audit")
    logger.addHandler(caplog.handler)
    yield lambda: [json.loads(record.getMessage()) for record in caplog.records if record.name == "audit"]
    logger.removeHandler(caplog.handler)


def test_remaining_clients_are_in_metrics_and_audit_log(ask, audited):
    before = _metrics(ask)
    # The third is answered without the application, as repeated reads are.
    for method in ("GET", "GET", "GET", "HEAD"):
        assert ask(method, "/dummy/volumes", User_Agent="old-script/1.2").status_code == 200
    assert ask("PUT", "/dummy/volumes/nope/locks/h", User_Agent="old-script/1.2").status_code == 404
    lines = audited()
    assert [line["operation"] for line in lines] == ["v3_get_volumes"] * 4 + ["v3_put_locks"]
    assert {(line["api"], line["user_agent"], line["who"]) for line in lines} == {("v3", "old-script/1.2", "admin")}
    text = _metrics(ask)
    for operation, status, times in (("v3_get_volumes", 200, 4), ("v3_put_locks", 404, 1)):
        assert _counted(text, operation, status) - _counted(before, operation, status) == times
    # How long a request was held open, as the first read was, says nothing about how fast the service is.
    assert [_timed(text, method) - _timed(before, method) for method in ("PUT", "GET", "HEAD")] == [0, 2, 1]


def test_a_request_without_credentials_is_logged_without_a_reason(idle, audited):
    assert idle.service.app.test_client().get(CHANGE).status_code == 400
    (line,) = audited()
    assert (line["who"], line["allowed"], line.get("reason")) == ("", True, None)


@pytest.mark.parametrize("code", ["rate-limited", "sign-in-unavailable"])
def test_refusals_for_other_reasons_are_unchanged(monkeypatch, code):
    monkeypatch.setattr(auth, "require", Mock(side_effect=Problem(code, "Later.")))
    with pytest.raises(Problem) as refused:
        access.require(Role.USER, "v3_get_volumes")
    assert (refused.value.code, refused.value.detail) == (code, "Later.")


def test_a_rate_limited_sign_in_is_not_treated_as_anonymous(redis_client, redis_url):
    """Below /v3 a wrong password is ignored; that too many were sent is reported nevertheless."""
    client = FrontEnd(redis_url, auth={"sign_in_network_limit": 1}).stranger()
    statuses = [client.get("/v3/nope/volumes", auth=("ann", "wrong")).status_code for _ in range(2)]
    assert statuses == [403, 429]


def test_the_sender_is_identified_before_the_request_is_processed(front_end, monkeypatch):
    identified = Mock()
    monkeypatch.setattr(ConcurrencyLimiter, "identified", identified)
    front_end.client(Role.USER).get("/v3/nope/volumes")
    identified.assert_called_once_with()
