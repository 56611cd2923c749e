"""HEAD is answered as GET is, and each answer says whether it may be stored: every route, for people and programs.

A page may load its style.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from werkzeug.wrappers import Response

from api.console import pages
from tests.api.front_end import FrontEnd

_VALUES = {
    "subsystem": "filer", "volume": "db01", "name": "first", "policy": "default", "kind": "csv", "role": "ADMIN",
    "code": "queue-full", "action": "cancel",
}  # fmt: skip
#: It never ends.
_STREAM = "/v4/events"
#: What is different each time.
_OWN = frozenset({"X-Request-ID", "Age", "Cache-Status", "Set-Cookie", "Content-Length", "Date"})


def _paths(front_end: FrontEnd, job_id: str) -> list[str]:
    """The addresses that can be requested with GET."""
    values = _VALUES | {"job_id": job_id}
    rules = [rule.rule for rule in front_end.app().url_map.iter_rules() if "GET" in (rule.methods or ())]
    return [re.sub(r"<(?:[^<>:]*:)?([^<>]+)>", lambda match: values[match[1]], rule) for rule in sorted(rules)]


def _facts(answer: Response) -> tuple[int, dict[str, str]]:
    return answer.status_code, {name: value for name, value in answer.headers if name not in _OWN}


def test_a_head_request_is_answered_as_the_get_request(front_end: FrontEnd, client: FlaskClient, filled: str) -> None:
    job_id = client.get("/v4/jobs").json[0]["id"]  # type: ignore[index]
    paths = [path for path in _paths(front_end, job_id) if path != _STREAM]
    assert len(paths) > 50
    pages = []
    for path in paths:
        for accept in ("text/html", "*/*"):
            headers = {"Accept": accept, "Prefer": "wait=0"}
            with client.get(path, headers=headers) as answer, client.head(path, headers=headers) as head:
                assert _facts(head) == _facts(answer), (path, accept)
                assert head.data == b"", path
                assert "Cache-Control" in answer.headers, path
                if '<link rel="stylesheet"' in answer.get_data(as_text=True):
                    assert "style-src 'self'" in answer.headers["Content-Security-Policy"], path
                    pages.append(path)
    assert {"/", "/console/", "/problems/queue-full"} <= set(pages)


def test_a_changed_asset_has_another_url(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pages, "_STATIC", tmp_path)
    versions = []
    for contents in ("a", "b"), ("b", "b"), ("b", "a"):
        for name, content in zip(("console.css", "console.js"), contents, strict=True):
            (tmp_path / name).write_text(content)
        versions.append(pages._assets_version.__wrapped__())
    assert len(set(versions)) == len(versions)
