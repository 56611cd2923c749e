"""``python try_service.py URL [VERSION]``: waits until the service at URL is ready, has one volume made, and reads it.

For pipelines, before anything is deployed. Signs in by HTTP Basic with SAPI_BASIC_AUTH_USERNAME and _PASSWORD. Needs
nothing but Python. VERSION, as in v0.2.0, is what the front end must say that it is.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import time
import urllib.error
import urllib.request
from typing import Any

PATIENCE_S = 120.0


def ask(url: str, method: str = "GET", body: object = None) -> tuple[int, Any]:
    """Return status and document of an answer; 0 where there is none."""
    user = f"{os.environ.get('SAPI_BASIC_AUTH_USERNAME', '')}:{os.environ.get('SAPI_BASIC_AUTH_PASSWORD', '')}"
    headers = {"Content-Type": "application/json", "Prefer": "wait=20"}
    if user != ":":
        headers["Authorization"] = "Basic " + base64.b64encode(user.encode()).decode()
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310 - the URL is the caller's
    try:
        with urllib.request.urlopen(request, timeout=40) as answer:  # noqa: S310
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode("utf-8", "replace")
    except (OSError, ValueError) as error:
        return 0, str(error)


def await_ready(base: str) -> dict[str, Any]:
    """Return what /readyz says once every queue has a worker.

    Raises:
        SystemExit: that does not come about in time.
    """
    deadline = time.monotonic() + PATIENCE_S
    while True:
        status, state = ask(f"{base}/readyz")
        queues = state.get("queues", {}) if isinstance(state, dict) else {}
        if status == 200 and queues and all(queue["workers_online"] for queue in queues.values()):  # noqa: PLR2004
            return dict(state)
        if time.monotonic() > deadline:
            raise SystemExit(f"{base}/readyz: {status} {state}")
        time.sleep(1)


def main(base: str, version: str = "") -> None:
    """Try it.

    Raises:
        SystemExit: something is not as it should be; the message says what.
    """
    subsystem = next(iter(await_ready(base)["subsystems"]))
    _, alive = ask(f"{base}/healthz")
    if version and alive["version"] != version.removeprefix("v"):
        raise SystemExit(f"the front end says {alive}, not {version}")
    volume = f"{base}/v4/{subsystem}/volumes/tried_{os.urandom(4).hex()}"
    made = ask(volume, "POST", {"size_total": 10**9})
    read = ask(volume)
    if (made[0], read[0]) != (201, 200):
        raise SystemExit(f"POST {volume}: {made}; GET: {read}")
    print(f"{base} runs {alive['version']}: {read[1]['name']} was made and read")


if __name__ == "__main__":
    main(*sys.argv[1:])
