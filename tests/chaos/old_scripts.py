"""``python -m tests.chaos.old_scripts --seconds 180 --seed 7``: the predecessor's scripts while parts are killed.

Each script makes 25 steps on a volume and a policy of its own, through a proxy that closes connections, and repeats
unanswered requests, as old scripts do. No other client changes its objects, so that each response can be verified.
Exit code 0 only when every response was right and nothing was done twice.
"""
# ruff: noqa: T201 - it prints its results to the terminal

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import requests

from tests.chaos.client import Seen
from tests.chaos.cutting_proxy import CuttingProxy
from tests.chaos.faults import Faults
from tests.chaos.judge import Judge
from tests.chaos.stack import PASSWORD, SUBSYSTEM, USER, Stack

_STUCK_AFTER_S = 90.0
_GIVE_UP_S = 120.0
_AGAIN_AFTER_S = 0.5
#: Statuses after which an old script repeats a request.
_AGAIN = {429, 502, 503, 504}
_SIZE = 10**9


class Step(NamedTuple):
    """One request of a script, and the expected response."""

    method: str
    path: str
    status: int
    is_true: Callable[[Any], bool]
    body: dict[str, Any] | None = None


def _says(words: str) -> Callable[[Any], bool]:
    return lambda body: words in body["message"]


def _is(value: Any) -> Callable[[Any], bool]:
    return lambda body: bool(body == value)


def _has(**fields: Any) -> Callable[[Any], bool]:
    return lambda body: {name: body[name] for name in fields} == fields


def _names(*names: str) -> Callable[[Any], bool]:
    return lambda body: [record["name"] for record in body] == list(names)


def steps(name: str) -> Iterator[Step]:
    """The script of one volume."""
    volumes, export = f"/v3/{SUBSYSTEM}/volumes", f"/v3/{SUBSYSTEM}/export"
    volume, clone, policy = f"{volumes}/{name}", f"{volumes}/{name}c", f"{export}/{name}"
    make = {"size_total": _SIZE, "junction_path": f"/{name}"}
    yield Step("GET", volumes, 200, lambda body: name not in {volume_record["name"] for volume_record in body})
    yield Step("POST", volume, 201, _has(name=name, size_total=_SIZE), make)
    yield Step("GET", volume, 200, _has(name=name, size_total=_SIZE))
    yield Step("POST", volume, 400, _says("already exists"), make)
    yield Step("POST", f"{volume}/snapshots/s1", 201, _is(""), {})
    yield Step("GET", f"{volume}/snapshots", 200, _names("s1"))
    yield Step("POST", f"{volume}/snapshots/s1", 400, _says("already exists"), {})
    yield Step("POST", f"{volume}/snapshots/s2", 201, _is(""), {})
    yield Step("PATCH", volume, 200, _is(None), {"size_total": 2 * _SIZE})
    yield Step("GET", volume, 200, _has(size_total=2 * _SIZE))
    yield Step("PUT", f"{volume}/locks/h1", 201, _is(""))
    yield Step("PUT", f"{volume}/locks/h2", 400, _says("already locked by"))
    yield Step("GET", f"{volume}/locks", 200, _is([{"host": "h1"}]))
    yield Step("DELETE", f"{volume}/locks/h1", 204, _is(None))
    yield Step("POST", policy, 201, _is(""), {"rules": ["h1"]})
    yield Step("PUT", f"{policy}/rule/h2", 201, _is(""))
    yield Step("GET", policy, 200, _has(rules=["h1", "h2"]))
    yield Step("DELETE", f"{policy}/rule/h1", 204, _is(None))
    yield Step("GET", policy, 200, _has(rules=["h2"]))
    yield Step("POST", clone, 201, _has(name=f"{name}c"), {"from_snapshot": "s1", "from_volume": name})
    yield Step("DELETE", clone, 204, _is(None))
    yield Step("POST", volume, 201, _has(name=name), {"from_snapshot": "s1"})
    yield Step("DELETE", policy, 204, _is(None))
    yield Step("DELETE", volume, 204, _is(None))
    yield Step("GET", volume, 404, _says("No such volume"))


class Script(threading.Thread):
    """Makes the steps, with a new volume each time, until it is stopped."""

    def __init__(self, url: str, name: str, stop: threading.Event) -> None:
        super().__init__(name=f"script-{name}", daemon=True)
        self._url, self._name, self._over = url, name, stop
        self.answers: Counter[str] = Counter()
        self.rounds = self.steps = 0
        self.untrue: list[str] = []
        #: Correct responses after which a script cannot continue: not done, or the outcome is unknown.
        self.broken_off: Counter[str] = Counter()

    def run(self) -> None:
        while not self._over.is_set():
            self.rounds += 1
            if all(self._is_done(step) for step in steps(f"{self._name}r{self.rounds}")):
                self.answers["whole scripts"] += 1

    def _is_done(self, step: Step) -> bool:
        """Did the step have the expected response? Otherwise the script ends here."""
        self.steps += 1
        answer = self._send(step)
        if answer is None:
            self.broken_off["not answered in time"] += 1
            return False
        body: Any = answer.json() if answer.content else None
        if answer.status_code == requests.codes.server_error:
            self.broken_off[body["message"][:80]] += 1
            return False
        if answer.status_code == step.status and step.is_true(body):
            return True
        self.untrue.append(f"{step.method} {step.path}: {answer.status_code} {answer.text[:200]}, not {step.status}")
        return False

    def _send(self, step: Step) -> requests.Response | None:
        until = time.monotonic() + _GIVE_UP_S
        while time.monotonic() < until:
            try:
                answer = requests.request(
                    step.method, self._url + step.path, json=step.body, auth=(USER, PASSWORD), timeout=60,
                    headers={"Connection": "close"},
                )  # fmt: skip
            except requests.RequestException:
                self.answers["cut off"] += 1
            else:
                self.answers[str(answer.status_code)] += 1
                if answer.status_code not in _AGAIN:
                    return answer
            time.sleep(_AGAIN_AFTER_S)
        return None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the scripts with faults, check the outcome, and print it."""
    options = _arguments(argv)
    seed = options.seed if options.seed is not None else random.randrange(10**6)
    folder = Path(tempfile.mkdtemp(prefix="old-scripts-"))
    print(f"seed {seed}, {options.seconds} s, {options.scripts} scripts; everything is in {folder}", flush=True)
    stack = Stack(folder, latency_s=options.latency, v3_wait=options.wait)
    try:
        stack.start()
        is_kept = _run(stack, options, seed)
    finally:
        stack.stop()
    if is_kept:
        shutil.rmtree(folder)
    return 0 if is_kept else 1


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.chaos.old_scripts", description="Old scripts while parts are killed.")
    parser.add_argument("--seconds", type=float, default=120, help="how long faults are made")
    parser.add_argument("--seed", type=int, help="what is drawn; without it, any")
    parser.add_argument("--scripts", type=int, default=6, help="how many run at the same time")
    parser.add_argument("--latency", type=float, default=0.3, help="how long a call to the filer takes (seconds)")
    parser.add_argument("--wait", type=int, default=2, help="SAPI_V3_WAIT (seconds)")
    parser.add_argument("--cut", type=float, default=4, help="the proxy cuts when no answer has come (seconds)")
    parser.add_argument("--pause", type=float, nargs=2, default=(1.0, 4.0), help="between faults (seconds, from to)")
    return parser.parse_args(argv)


def _run(stack: Stack, options: argparse.Namespace, seed: int) -> bool:
    proxy, stop = CuttingProxy(stack.ports, options.cut), threading.Event()
    scripts = [Script(proxy.url, f"script{n}", stop) for n in range(options.scripts)]
    faults = Faults(stack, random.Random(seed), pause_s=tuple(options.pause))
    for thread in (*scripts, faults):
        thread.start()
    time.sleep(options.seconds)
    faults.end()
    stop.set()
    for script in scripts:
        script.join()
    proxy.close()
    judge = Judge(stack)
    print(judge.await_end(_STUCK_AFTER_S))
    verdict = judge.judge(Seen())
    return _print(scripts, faults, proxy, verdict.bad)


def _print(scripts: list[Script], faults: Faults, proxy: CuttingProxy, bad: dict[str, list[str]]) -> bool:
    def total(counts: Callable[[Script], Counter[str]]) -> dict[str, int]:
        return dict(sum((counts(script) for script in scripts), Counter()).most_common())

    untrue = [line for script in scripts for line in script.untrue]
    print(f"steps {sum(script.steps for script in scripts)}, answers {total(lambda script: script.answers)}")
    print(f"faults {dict(faults.counts.most_common())}, connections cut {proxy.cuts}")
    print(f"broken off {total(lambda script: script.broken_off)}")
    for kind, lines in {"untrue": untrue, **bad}.items():
        print(f"{kind} {len(lines)}")
        for line in lines[:20]:
            print(f"  {line}")
    return not untrue and not any(bad.values())


if __name__ == "__main__":
    sys.exit(main())
