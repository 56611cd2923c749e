"""The documentation page is ours alone: no foreign host, no script between its lines."""

from __future__ import annotations

import re

import pytest
from flask import Response

from tests.api.front_end import OURS, problem, sources


def test_the_page_runs_nothing_but_our_files(client):
    response = client.get("/")
    text = response.text
    (policy,) = response.headers.getlist("Content-Security-Policy")
    assert "script-src 'self';" in policy
    assert sources(policy) <= OURS
    assert re.findall(r"<script(?! src=\"/docs-assets/)", text) == []
    assert re.findall(r"https?://", text) == []


def test_the_page_of_a_problem_loads_our_files_too(client):
    response = client.get("/problems/no-such-volume", headers={"Accept": "text/html"})
    assert 'rel="stylesheet"' in response.text
    assert "style-src 'self';" in response.headers["Content-Security-Policy"]


def test_sign_in_or_sign_out_is_offered_but_not_both(front_end, client):
    signed_in, stranger = client.get("/").text, front_end.stranger().get("/").text
    assert ('href="/login"' in signed_in, 'href="/logout"' in signed_in) == (False, True)
    assert ('href="/login"' in stranger, 'href="/logout"' in stranger) == (True, False)


def test_each_file_of_the_page_is_served(client):
    paths = re.findall(r'(?:src|href)="(/docs-assets/[^"]+)"', client.get("/").text)
    assert len(paths) > 2
    for path in paths:
        with client.get(path) as response:
            assert response.status_code == 200, path


def test_a_file_that_fails_the_precondition_is_closed(client, monkeypatch):
    closed: list[str | None] = []
    close = Response.close

    def note(response: Response) -> None:
        closed.append(response.mimetype)
        close(response)

    monkeypatch.setattr(Response, "close", note)
    answer = client.get("/docs-assets/page.css", headers={"If-Match": '"other"'}, buffered=False)
    problem(answer, 412, "precondition-failed")
    assert closed[0] == "text/css"


@pytest.mark.parametrize("name", ["../app.py", "%2e%2e%2fapp.py", "index.html", "page.html"])
def test_other_files_are_not_served(client, name):
    problem(client.get(f"/docs-assets/{name}"), 404, "not-found")


def test_debug_mode_is_shown(client):
    assert "Debug mode" in client.get("/").text


def test_the_page_is_served_with_wrong_credentials(front_end):
    page = front_end.stranger().get("/", auth=("ann", "wrong"))
    assert (page.status_code, page.headers["Cache-Control"]) == (200, "no-cache")
