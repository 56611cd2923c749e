"""``python -m tests.benchmarks.netapp_listing [N]``: what listing N volumes costs, against fetching their pages bare.

The pages are served by another process, so that only the client's processor time is counted. The aim is a ratio of at
most 1.3 for 10,000 volumes.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import requests

from storage_backends.configuration.options import NetappOptions
from storage_backends.journal import InMemoryJournal
from storage_backends.netapp import NetappStorage
from storage_backends.netapp.ontap.lookups import PAGE
from storage_backends.netapp.ontap.mapping import LISTING_FIELDS
from tests.ontap_simulator import World
from tests.ontap_simulator.shapes import VOLUME


def pages(count: int) -> list[bytes]:
    """A listing of ``count`` volumes as ONTAP would page it."""
    world = World()
    for number in range(count):
        world.add_volume(f"vol{number:05}", nas={"path": f"/vol{number:05}"})
    all_records = [VOLUME.show(record, [*LISTING_FIELDS, "svm.name"]) for record in world.volumes.values()]
    made = []
    for start in range(0, count, PAGE):
        links: dict[str, Any] = {"self": {"href": "/api/storage/volumes"}}
        if start + PAGE < count:
            links["next"] = {"href": f"/api/storage/volumes?start.uuid={start + PAGE}&max_records={PAGE}"}
        records = all_records[start : start + PAGE]
        made.append(json.dumps({"records": records, "num_records": len(records), "_links": links}).encode())
    return made


#: What a listing of several pages asks for at its end.
VSERVER = json.dumps({"records": [{"name": "vs1", "state": "running"}], "num_records": 1}).encode()


def serve(count: int, port: Any) -> None:
    """Serve the pages until killed."""
    made = pages(count)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def do_GET(self) -> None:
            start = parse_qs(urlsplit(self.path).query).get("start.uuid", ["0"])[0]
            content = VSERVER if "/svm/svms" in self.path else made[int(start) // PAGE]
            self.send_response(200)
            self.send_header("Content-Type", "application/hal+json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    port.put(server.server_address[1])
    server.serve_forever()


def bare(port: int) -> int:
    """Fetch the pages with ``requests`` and ``json`` alone."""
    session, count, path = requests.Session(), 0, f"/api/storage/volumes?max_records={PAGE}"
    while path:
        answer = session.get(f"http://127.0.0.1:{port}{path}", auth=("u", "p"), timeout=30)
        page = json.loads(answer.content)
        count += len(page["records"])
        path = page["_links"].get("next", {}).get("href", "")
    return count


def cpu_seconds(*works: Callable[[], Any], times: int = 40) -> list[float]:
    """The least processor time of each, measured in turns: other load on the machine can only increase it."""
    least = [float("inf")] * len(works)
    for _ in range(times):
        for number, work in enumerate(works):
            before = time.process_time()
            work()
            least[number] = min(least[number], time.process_time() - before)
    return least


def main() -> None:
    """Measure, and print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    server = context.Process(target=serve, args=(count, queue), daemon=True)
    server.start()
    port = queue.get(timeout=120)
    options = NetappOptions(username="u", password="p", vserver="vs1", hostname="127.0.0.1", port=port, scheme="http")
    backend = NetappStorage(options, name="bench")
    assert bare(port) == len(backend.list_volumes(journal=InMemoryJournal())) == count
    floor, ours = cpu_seconds(lambda: bare(port), lambda: backend.list_volumes(journal=InMemoryJournal()))
    print(f"{count} volumes: bare {floor:.3f} s, ours {ours:.3f} s, ratio {ours / floor:.2f}")  # noqa: T201
    server.terminate()


if __name__ == "__main__":
    main()
