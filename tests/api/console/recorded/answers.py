"""An API that answers the console as a case says, and records the requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import orjson
from werkzeug.datastructures import Headers

#: Headers of a call that say something of what it is for.
_NAMED = ("HTTP_PREFER", "HTTP_CACHE_CONTROL", "HTTP_IF_NONE_MATCH", "HTTP_IDEMPOTENCY_KEY")


@dataclass(frozen=True)
class Answer:
    """One answer: its body (JSON), status and headers."""

    body: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


#: By method and path; of a list each is given once, but the last.
Answers = Mapping[str, Answer | Sequence[Answer]]


class AnsweringApi:
    """Stands in the place of the WSGI application that `api.console.api_client` calls."""

    def __init__(self, answers: Answers) -> None:
        self._answers = {name: [each] if isinstance(each, Answer) else list(each) for name, each in answers.items()}
        #: The requests, a line for each call; the names of all headers of the calls; and the last one's environ.
        self.asked: list[str] = []
        self.headers: set[str] = set()
        self.environ: Mapping[str, Any] = {}

    def __call__(self, _app: Any, environ: Mapping[str, Any], **_: Any) -> tuple[list[bytes], str, Headers]:
        called = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO'].encode('latin-1').decode()}"
        query, body = unquote(environ["QUERY_STRING"]), environ["wsgi.input"].read().decode()
        headers = [f"{name[5:].replace('_', '-').title()}: {environ[name]}" for name in _NAMED if name in environ]
        self.asked.append(" ".join(filter(None, [called + (f"?{query}" if query else ""), *headers, body])))
        self.headers |= {name[5:].replace("_", "-").title() for name in environ if name.startswith("HTTP_")}
        self.environ = environ
        known = self._answers[called]
        answer = known.pop(0) if len(known) > 1 else known[0]
        data = b"" if answer.body is None else orjson.dumps(answer.body)
        return [data], f"{answer.status} X", Headers({"Content-Type": "application/json", **answer.headers})


def listing(rows: list[Any], *, total: int | None = None, following: str = "", age_s: int = 90) -> Answer:
    """A page of a collection."""
    headers = {"X-Total-Count": str(len(rows) if total is None else total), "Age": str(age_s), "ETag": '"e1"'}
    link = {"Link": f'</v4/x?page_token={following}>; rel="next"'} if following else {}
    return Answer(rows, 200, headers | link)


def one(document: Mapping[str, Any], age_s: int = 90) -> Answer:
    """One object."""
    return Answer(document, 200, {"Age": str(age_s)})


def refused(document: Mapping[str, Any]) -> Answer:
    """A problem."""
    return Answer(document, document["status"])


def made(job: Mapping[str, Any]) -> Answer:
    """A job that was accepted."""
    return Answer(job, 202, {"Operation-Location": f"/v4/jobs/{job['id']}"})
