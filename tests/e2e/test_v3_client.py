"""What the published client of the predecessor (sapi 0.2.0) sends, byte for byte, and what it can read.

Recorded from that client, which itself cannot be among the tests: it needs a Python before 3.7, and is under the GPL.
"""

from __future__ import annotations

import json
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.e2e.client import Client, Service

RECORDED = json.loads((Path(__file__).parent / "v3_published_client.json").read_text())


def send(service: Service, cookie: str, recorded: dict[str, Any]) -> tuple[int, Any]:
    """Send a recorded request over a connection of its own; status and body."""
    connection = HTTPConnection(urlsplit(service.url).netloc, timeout=40)
    connection.putrequest(recorded["method"], recorded["path"], skip_accept_encoding=True)
    body = recorded["body"].encode()
    length = {"Content-Length": str(len(body))} if recorded["method"] in ("POST", "PUT", "PATCH") else {}
    # It ends its cookies as browsers do not.
    for name, value in {**recorded["headers"], **length, "Cookie": f"{cookie}; "}.items():
        connection.putheader(name, value)
    connection.endheaders(body or None)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, json.loads(content) if content else None


def test_every_request_is_answered_as_it_was(service: Service, http: Client) -> None:
    session: Any = next(iter(http.cookies))
    assert (session.path, session.domain) == ("/", "127.0.0.1")
    cookie = f"{session.name}={session.value}"
    answers = [send(service, cookie, recorded) for recorded in RECORDED]
    assert [status for status, _ in answers] == [recorded["status"] for recorded in RECORDED]
    assert len(answers) == 22
    for recorded, (_, content) in zip(RECORDED, answers, strict=True):
        for record in content if isinstance(content, list) else [content]:
            if isinstance(record, dict):
                # Its models refuse empty texts, and its parser takes RFC 822 only.
                assert "" not in record.values(), recorded["path"]
                if record.get("creation_time"):
                    assert parsedate_to_datetime(record["creation_time"]).year >= 2000


def test_a_client_that_follows_redirects_can_sign_in(service: Service) -> None:
    answer = Client(service.url).get("/login")
    assert answer.status_code == 200
    assert [step.status_code for step in answer.history] == [302]
    assert urlsplit(answer.url).path == "/"


def test_a_netapp_volume_needs_its_size_and_place(http: Client, name: str) -> None:
    path = f"/v3/netapp/volumes/{name}"
    refused = http.post(path, json={})
    assert (refused.status_code, set(refused.json()["errors"])) == (400, {"size_total", "junction_path"})
    made = http.post(path, json={"size_total": 2**30, "junction_path": f"/{name}"})
    assert made.status_code == 201, made.text
    assert (made.json()["percentage_snapshot_reserve"], made.json()["size_total"]) == (0, 2**30)
    again = http.post(path, json={"size_total": 2**30, "junction_path": f"/{name}"})
    assert (again.status_code, "already exists" in again.json()["message"]) == (400, True)
    policy = f"/v3/netapp/export/{name}"
    assert http.post(policy, json={"rules": ["*db.cern.ch"]}).status_code in (201, 400)
    assert http.get(f"{path}?x=1", headers={"X-Fields": "name"}).json() == {"name": name}
