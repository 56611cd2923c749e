"""``python -m tests.deploy.compose_upgrade``: a stack under load is scaled, loses containers, and is upgraded in place.

Needs a Docker engine and the images of `make image`, and takes some minutes. Exits 0 when every accepted job came to
an end that tells the truth (`worker-lost` is one: nothing was made), and no client saw an error but 503 with
Retry-After.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
import time
from collections.abc import Callable

from tests.deploy.load import Clients
from tests.deploy.stack import IMAGES, Stack, has_engine, has_image, running

#: A fifth of a second for each call, so that there always are some under way.
BACKENDS = "dummy🌈DummyStorage🌈latency_s🌈0.2"
NEW = "upgrade-test"


def _tell(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - for whoever typed the command


def _say(began: float, what: str) -> None:
    _tell(f"{time.monotonic() - began:6.1f} s  {what}")


def make_new_release(stack: Stack, old: str) -> None:
    """Images that are the same, but are others to the engine."""
    for image in IMAGES:
        subprocess.run(
            ["docker", "build", "--quiet", "--tag", f"{image}:{NEW}", "-"],
            input=f"FROM {image}:{old}\nLABEL upgraded=yes\n".encode(), env=stack.environment, check=True,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip


def events(stack: Stack, workers: int) -> list[tuple[str, Callable[[], object]]]:
    """What is done to the stack, in order."""
    more = ("up", "-d", "--no-deps", "--no-recreate", "--wait", "--scale", f"worker={workers + 1}", "worker")
    return [
        (f"one worker more ({workers + 1})", lambda: stack.compose(*more)),
        ("a worker is killed", lambda: stack.kill_one("worker")),
        ("a front end is killed", lambda: stack.kill_one("api")),
        ("Redis is restarted", lambda: stack.compose("restart", "--timeout", "60", "redis")),
        ("everything is upgraded", lambda: stack.run("deploy/compose/roll_out.sh", NEW, timeout_s=900)),
    ]


def unfinished(clients: Clients, limit_s: float, worker_lost: set[str]) -> dict[str, str]:
    """The accepted jobs that did not succeed within ``limit_s`` seconds, and how they stand.

    Those whose clients should repeat them, because a killed worker had not made them, go into ``worker_lost``.
    """
    open_jobs = dict(clients.seen.accepted)
    bad: dict[str, str] = {}
    deadline = time.monotonic() + limit_s
    while open_jobs and time.monotonic() < deadline:
        for name, job_id in list(open_jobs.items()):
            status, job, _ = clients.get_page(f"/v4/jobs/{job_id}")
            if status != 200 or job["done"]:
                del open_jobs[name]
                if status == 200 and job["state"] == "failed" and job["error"]["code"] == "worker-lost":
                    worker_lost.add(name)
                elif status != 200 or job["state"] != "succeeded":
                    bad[name] = f"{status} {job}"
            if len(bad) > 20 or time.monotonic() > deadline:
                return bad
        threading.Event().wait(0.5)
    return bad | dict.fromkeys(open_jobs, "not done in time")


def untrue_volumes(clients: Clients, worker_lost: set[str]) -> list[str]:
    """The volumes that are not in the listing although their jobs succeeded, or are although nothing was made."""
    listed, path = set(), "/v4/dummy/volumes?fields=name&limit=1000"
    while path:
        _, page, path = clients.get_page(path)
        listed |= {volume["name"] for volume in page or []}
    return sorted((clients.seen.accepted.keys() - worker_lost - listed) | (worker_lost & listed))


def drive(stack: Stack, *, workers: int, threads: int, calm_s: float) -> bool:
    """Run every step under load; return whether every promise was kept."""
    began = time.monotonic()
    clients = Clients(stack.addresses, stack.authorization(), threads, pause_s=0.3)
    clients.start()
    for what, happens in events(stack, workers):
        threading.Event().wait(calm_s)
        _say(began, what)
        happens()
        _say(began, f"  … done, {len(clients.seen.accepted)} jobs accepted so far")
    threading.Event().wait(calm_s)
    clients.stop()
    seen = clients.seen
    worker_lost: set[str] = set()
    bad = unfinished(clients, limit_s=180, worker_lost=worker_lost)
    untrue = untrue_volumes(clients, worker_lost)
    _say(began, f"{len(seen.accepted)} jobs accepted; answers {dict(seen.statuses)}; {seen.cut} connections cut,")
    _say(began, f"not accepted {seen.given_up}; broken answers {seen.broken[:5]}; bad jobs {bad};")
    _say(began, f"worker-lost {len(worker_lost)}; untrue {untrue}")
    return bool(seen.accepted) and not (bad or untrue or seen.broken or seen.given_up)


def main() -> int:
    """Run every step; 0 when the promises were kept."""
    parser = argparse.ArgumentParser(description="Upgrade a Compose stack under load.")
    parser.add_argument("--version", default="dev", help="tag of the images to begin with")
    parser.add_argument("--apis", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=3, help="clients")
    parser.add_argument("--calm", type=float, default=5.0, help="seconds between what happens")
    options = parser.parse_args()
    if not has_engine() or not all(has_image(f"{image}:{options.version}") for image in IMAGES):
        _tell("needs a Docker engine with Compose, and the images of `make image`")
        return 2
    stack = Stack.planned(apis=options.apis, workers=options.workers, backends=BACKENDS)
    stack.environment["SAPI_VERSION"] = options.version
    make_new_release(stack, options.version)
    try:
        return check(stack, options)
    finally:
        stack.run("docker", "image", "rm", *(f"{image}:{NEW}" for image in IMAGES))


def check(stack: Stack, options: argparse.Namespace) -> int:
    """Start it, drive it, remove it; 0 when the promises were kept."""
    with running(stack):
        _tell(f"front ends on {', '.join(stack.addresses)}")
        kept = drive(stack, workers=options.workers, threads=options.threads, calm_s=options.calm)
        if not kept:
            _tell(stack.compose("logs", "--no-color", "--tail", "40"))
    _tell("kept" if kept else "BROKEN")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
