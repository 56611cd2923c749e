"""Attacks on the console: forms that another site sends, script in names and messages, and pages in frames."""

from __future__ import annotations

import re
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import pytest

import api.console
from tests.api.console.crawler import Crawl
from tests.api.console.injected_scripts import EVIL, inject
from tests.api.console.routes import FORMS
from tests.api.front_end import OURS, FrontEnd, accepted, sources

_TEMPLATES = Path(api.console.__file__).parent / "templates"
_FOREIGN = (
    {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"},
    {"Origin": "null"}, {"Referer": "https://evil.example/console/"},
)  # fmt: skip
#: Pages on which something that was injected must be seen: else nothing would be proven.
_SHOWING = (
    "/console/", "/console/jobs", "/console/filer/volumes", "/console/filer/volumes/db01", "/console/filer/export",
    "/console/filer/export/default", "/console/filer/volume-actions/change/db01",
    "/console/filer/volume-actions/roll-back/db01", "/console/filer/volume-actions/clone/db01",
)  # fmt: skip


class _Elements(HTMLParser):
    """What would run or load something in a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.harmful: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        is_own_script = tag == "script" and values.get("src", "").startswith("/console/assets/")
        if tag in ("script", "img", "iframe", "object", "embed", "base", "style") and not is_own_script:
            self.harmful.append(f"<{tag}>")
        self.harmful += [f"{tag} {name}" for name in values if name.startswith("on") or name == "style"]
        addresses = [values[name] for name in ("href", "src", "action", "formaction") if name in values]
        self.harmful += [
            each for each in addresses if re.match(r"\s*(?:javascript|vbscript|https?):|//", each, re.IGNORECASE)
        ]


def test_names_and_messages_are_text_on_every_page(
    front_end: FrontEnd, client, worker, filled: str, monkeypatch
) -> None:
    # No worker runs reads here: forms use what is cached.
    monkeypatch.setattr("api.console.volume_actions._FRESH", {"Prefer": "wait=0"})
    inject(front_end, worker)
    pages = Crawl(client).follow("/console/").texts
    assert {path: harmful for path, text in pages.items() if (harmful := _Elements(text).harmful)} == {}
    with_script = {path.partition("?")[0] for path, text in pages.items() if "&lt;script&gt;alert(2)" in text}
    assert set(_SHOWING) - with_script == set()
    assert sum("/console/jobs/" in path for path in with_script) >= 3
    for path in ("/console/jobs?volume={}", "/console/filer/volumes?q={}", "/console/filer/new-volume?name={}"):
        assert _Elements(client.get(path.format(EVIL.replace("&", "%26"))).text).harmful == []
    refused = client.post("/console/filer/new-volume", data={"name": "x1", "size_total": EVIL, "comment": EVIL})
    assert escape(EVIL, quote=False)[:20] in refused.text
    assert _Elements(refused.text).harmful == []


def test_no_template_marks_values_as_safe() -> None:
    templates = list(_TEMPLATES.rglob("*.html"))
    assert len(templates) > 5
    for path in templates:
        text = path.read_text("utf-8")
        assert "autoescape" not in text, path
        # Only literals of the template itself.
        assert re.findall(r"(?<!')\s\|\s*safe", re.sub(r"'[^']*' \| safe", "", text)) == [], path


@pytest.mark.parametrize("headers", _FOREIGN, ids=str)
def test_no_form_can_be_sent_by_another_site(front_end: FrontEnd, client, worker, filled: str, headers) -> None:
    job = accepted(client.post("/v4/filer/volumes/a1", json={})).rpartition("/")[2]
    before = [each["id"] for each in client.get("/v4/jobs?limit=1000").json]
    client.get("/login")
    fields = {
        "name": "forged", "new_name": "forged", "host": "h1", "rule": "h1", "confirm": filled, "from_snapshot": "first",
        "later": "second", "size_total": "1GiB", "where": "name=db*", "state": "queued",
        "was-comment": "", "comment": "x",
    }  # fmt: skip
    for rule, action in FORMS:
        values = {"subsystem": "filer", "path:volume": filled, "path:policy": "default", "name": "gone1", "job_id": job}
        path = re.sub(r"<([^>]+)>", lambda match: {**values, "action": action}[match[1]], rule)  # noqa: B023
        answer = client.post(path, data=fields, headers=headers)
        assert answer.status_code == 403, path
        assert "cross-site-request" in answer.text, path
    assert [each["id"] for each in client.get("/v4/jobs?limit=1000").json] == before
    assert client.get(f"/v4/jobs/{job}").json["state"] == "queued"


def test_no_page_can_be_framed_or_stored(front_end: FrontEnd, client, filled: str) -> None:
    job = accepted(client.post("/v4/filer/volumes/a1", json={}))
    html = {"Accept": "text/html"}
    answers = [
        *(client.get(path) for path in ("/console/", "/console/filer/volumes", "/console/nowhere/volumes")),
        *(client.get(path) for path in ("/console/jobs?state=odd", "/console/jobs/nosuch")),
        client.get(job, headers=html), client.get("/v4/jobs", headers=html), front_end.stranger().get("/console/"),
        client.post("/console/", headers=html), client.post(f"/console/jobs/{job.rpartition('/')[2]}/odd"),
    ]  # fmt: skip
    for answer in answers:
        policy = answer.headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in policy, answer.request.path
        assert sources(policy) <= OURS
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store", answer.request.path
        # At the same address there is JSON for others.
        assert answer.mimetype != "text/html" or answer.headers["Vary"] == "Accept, Cookie", answer.request.path
