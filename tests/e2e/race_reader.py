"""A client that reads collections and objects in every way that the contract has, and records the responses."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Any

import requests

from tests.e2e.client import Client
from tests.e2e.race import Answer, Model, Record

#: How fresh a copy must be: mostly, whatever the service thinks.
_FRESHNESS = [
    *[""] * 6, "no-cache", "no-cache", "max-age=0", "max-age=1", "max-stale", "only-if-cached", "min-fresh=1",
]  # fmt: skip
_PREFERENCES = ["", "wait=20", "wait=20", "respond-async"]
_GONE = {"no-such-volume", "no-such-snapshot", "no-such-policy"}


class Reader:
    """One connection, and the responses that it revalidates."""

    def __init__(self, client: Client, model: Model, dice: random.Random, filer: str) -> None:
        self._http = client
        self._model = model
        self._dice = dice
        self._volumes, self._mounted, self._policies = f"{filer}/volumes", f"{filer}/mounted", f"{filer}/export"
        #: By request: the ETag of an answer, and what it showed.
        self._kept: dict[tuple[str, str], tuple[str, dict[str, Record]]] = {}

    def read_any(self) -> None:
        """Ask for something."""
        collection = self._dice.choice([self._volumes, self._volumes, self._policies, ""])
        self.read(collection or self._dice.choice(list(self._model.names)))

    def read(self, collection: str, name: str = "") -> None:
        """Ask for a collection, or for an object in it, in any way."""
        names = self._model.names[collection]
        name = name or (self._dice.choice(names[-12:]) if names else "")
        ways: list[Callable[[str, str], None]] = [self._whole, self._whole, self._filtered, self._pages]
        if name and not collection.endswith("/locks"):
            ways += [self._single, self._single]
        if collection == self._mounted:
            ways = [self._single] if name else []
        if ways:
            self._dice.choice(ways)(collection, name)

    # --- kinds of requests

    def _whole(self, collection: str, name: str) -> None:
        self._ask(collection, _url(collection), conditional=True)

    def _single(self, collection: str, name: str) -> None:
        self._ask(collection, _url(f"{collection}/{name}"), names=(name,), conditional=True)

    def _filtered(self, collection: str, name: str) -> None:
        field = "host" if collection.endswith("/locks") else "name"
        filters: list[tuple[str, Callable[[Record], bool]]] = [
            (f"{field}={name[:3] or 'x'}*", lambda record: record[field].startswith(name[:3] or "x")),
            (f"{field}=!{name or 'x'}", lambda record: record[field] != (name or "x")),
        ]
        if collection == self._volumes:
            bytes_ = self._dice.randrange(2**30, 2**32)
            filters += [(f"size_total=>{bytes_}", lambda record: record["size_total"] > bytes_)]
            filters += [("active_policy_name=!default", lambda record: record["active_policy_name"] != "default")]
        query, fits = self._dice.choice(filters)
        self._ask(collection, f"{_url(collection)}?{query}", fits=fits, conditional=True)

    def _pages(self, collection: str, name: str) -> None:
        self._ask(collection, f"{_url(collection)}?limit={self._dice.randint(2, 9)}")

    # --- asking

    def _headers(self) -> dict[str, str]:
        headers = {"Cache-Control": self._dice.choice(_FRESHNESS), "Prefer": self._dice.choice(_PREFERENCES)}
        if not headers["Cache-Control"]:
            del headers["Prefer"]
        if self._dice.random() < 0.3:
            headers["Accept-Encoding"] = "identity"
        return {header: value for header, value in headers.items() if value}

    def _ask(
        self,
        collection: str,
        url: str,
        *,
        names: tuple[str, ...] | None = None,
        fits: Callable[[Record], bool] | None = None,
        conditional: bool = False,
    ) -> None:
        head = self._headers()
        kept = self._kept.get((url, head.get("Accept-Encoding", ""))) if conditional else None
        if kept is not None and self._dice.random() < 0.7:
            head["If-None-Match"] = kept[0]
        sent = time.monotonic()
        answer = self._http.get(url, headers=head)
        self._take(answer, _Question(collection, url, head, names, fits), sent, time.monotonic())

    def _take(self, answer: requests.Response, question: _Question, sent: float, received: float) -> None:
        """What an answer shows; a job's result is what its question would have been answered with."""
        while answer.status_code == requests.codes.accepted:
            answer, received = self._result(answer, question)
        if answer.status_code == requests.codes.gateway_timeout and "only-if-cached" in question.text:
            self._model.kinds["504"] += 1
            return None
        place = question.url, question.headers.get("Accept-Encoding", "")
        if answer.status_code == requests.codes.not_modified and "If-None-Match" in question.headers:
            return self._note(question, answer, sent, received, self._kept[place][1])
        if answer.status_code == requests.codes.not_found and answer.json()["code"] in _GONE:
            return self._gone(question, answer, sent, received)
        if answer.status_code != requests.codes.ok:
            return self._model.surprise(f"{question.text}: {answer.status_code} {answer.text[:300]}")
        if question.names is not None:
            records = {question.names[0]: self._model.same(self._without_rights(question, answer.json()))}
        else:
            records = self._named(self._records(answer, question))
        self._kept[place] = answer.headers["ETag"], records
        return self._note(question, answer, sent, received, records)

    def _result(self, answer: requests.Response, question: _Question) -> tuple[requests.Response, float]:
        self._model.kinds["202"] += 1
        job = self._http.ended(answer.json()["id"])
        # The job may be another client's, with another query: so this client's own is sent along.
        query = question.url.partition("?")[2] or ("limit=1000" if question.names is None else "")
        has_succeeded = job["state"] == "succeeded"
        got = self._http.get(f"/v4/jobs/{job['id']}/result" + (f"?{query}" if has_succeeded and query else ""))
        return got, time.monotonic()

    # --- responses

    def _without_rights(self, question: _Question, record: dict[str, Any]) -> dict[str, Any]:
        """A record as changes tell it: one policy is read with the rights of its rules, checked here."""
        details = record.pop("details", None)
        if details is not None and [client for rule in details for client in rule["clients"]] != record["rules"]:
            self._model.surprise(f"{question.text}: {details} beside {record['rules']}")
        return record

    def _records(self, answer: requests.Response, question: _Question) -> list[dict[str, Any]]:
        """All pages from this one on: they are of one state, and so are checked as one response."""
        records: list[dict[str, Any]] = answer.json()
        page = answer
        while "next" in page.links:
            page = self._http.get(page.links["next"]["url"])
            if page.status_code != requests.codes.ok:
                self._model.surprise(f"{question.text}, a later page: {page.status_code} {page.text[:300]}")
                break
            records += page.json()
        if answer.headers["X-Total-Count"] != str(len(records)):
            self._model.surprise(f"{question.text}: {len(records)} records, but {dict(answer.headers)}")
        return records

    def _named(self, records: list[dict[str, Any]]) -> dict[str, Record]:
        field = "name" if not records or "name" in records[0] else "host"
        by_name = {str(record[field]): self._model.same(record) for record in records}
        if len(by_name) < len(records):
            self._model.surprise(f"an object is there twice: {[record[field] for record in records]}")
        return by_name

    def _note(
        self, question: _Question, answer: requests.Response, sent: float, received: float, records: dict[str, Record]
    ) -> None:
        description = f"{question.text}: {answer.status_code} {answer.headers.get('Cache-Status', '')}"
        collection, names, fits = question.collection, question.names, question.fits
        self._model.answers.append(Answer(description, sent, received, collection, records, names, fits))
        self._presence(question, description, sent, received, there=True)
        self._model.kinds[_kind(answer)] += 1

    def _gone(self, question: _Question, answer: requests.Response, sent: float, received: float) -> None:
        description = f"{question.text}: {answer.text[:150]}"
        self._model.kinds["404"] += 1
        if question.collection.count("/") > 1 and answer.json()["code"] == "no-such-volume":
            return self._presence(question, description, sent, received, there=False)
        if question.names is None:
            return self._model.surprise(description)
        self._model.answers.append(Answer(description, sent, received, question.collection, {}, question.names))
        return self._presence(question, description, sent, received, there=True)

    def _presence(self, question: _Question, description: str, sent: float, received: float, *, there: bool) -> None:
        """What is said of a volume's snapshots or locks says that it is there, or is not."""
        filer, kind, *below = question.collection.split("/")
        if below:
            self._model.answers.append(
                Answer(description, sent, received, f"{filer}/{kind}", {}, (below[0],), None, there)
            )


class _Question:
    """A request."""

    def __init__(
        self,
        collection: str,
        url: str,
        headers: dict[str, str],
        names: tuple[str, ...] | None = None,
        fits: Callable[[Record], bool] | None = None,
    ) -> None:
        self.collection = collection
        self.url = url
        self.headers = headers
        self.names = names
        self.fits = fits

    @property
    def text(self) -> str:
        return f"GET {self.url} {self.headers or ''}"


def _url(place: str) -> str:
    """Where a collection or an object is; what is mounted somewhere is named by its path."""
    return f"/v4/{place}".replace("/mounted/", "/volumes/node:/")


def _kind(answer: requests.Response) -> str:
    status = answer.headers.get("Cache-Status", "")
    return f"{answer.status_code} {'hit' if 'hit' in status else status.partition('; ')[2]}"


class Workload:
    """Threads, each of which repeats something until all are stopped; an exception of one is an error of the model."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def add(self, act: Callable[[], None]) -> None:
        """Start one more thread."""
        thread = threading.Thread(target=self._run, args=(act,))
        thread.start()
        self._threads.append(thread)

    def _run(self, act: Callable[[], None]) -> None:
        try:
            while not self._stop.is_set():
                act()
        except Exception as error:
            self._model.surprise(f"{type(error).__name__}: {error}")
            self._stop.set()
            raise

    def wait(self, timeout_s: float) -> None:
        """Wait until a stop was requested, but no longer than that."""
        self._stop.wait(timeout_s)

    def request_stop(self) -> None:
        """Request all threads to stop."""
        self._stop.set()

    def end(self) -> None:
        """Stop all threads and wait for them."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
