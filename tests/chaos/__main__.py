"""``python -m tests.chaos --seconds 180 --seed 7``: exit code 0 only when every promise was kept.

``--batches 100 --members 200`` submits so many batches of so many members in the place of other requests, and
makes faults until all of them are accepted and have ended, at most for ``--seconds``.
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
from collections.abc import Sequence
from pathlib import Path

import requests

from tests.chaos.attack.__main__ import main as attack
from tests.chaos.batches import batch_clients
from tests.chaos.client import Client, Seen
from tests.chaos.faults import Faults
from tests.chaos.judge import BAD, Judge, Verdict
from tests.chaos.listening import Listening
from tests.chaos.notifications import BAD as BAD_NOTICES
from tests.chaos.requests_made import Wishes
from tests.chaos.stack import PASSWORD, SUBSYSTEM, USER, Stack

#: Open jobs count as stuck when no job has ended for this long after the last fault (seconds).
_STUCK_AFTER_S = 90.0
#: Few paths: a waiting change by path holds back all changes that were accepted after it.
_BY_PATH_IN_BATCHES = 0.01


def main(argv: Sequence[str] | None = None) -> int:
    """Run the service with clients and faults, check the outcome, and print it."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if "--attack" in arguments:
        return attack([argument for argument in arguments if argument != "--attack"])
    options = _arguments(arguments)
    seed = options.seed if options.seed is not None else random.randrange(10**6)
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    print(f"seed {seed}, {options.seconds} s, {options.clients} clients; everything is in {folder}", flush=True)
    stack = Stack(folder, latency_s=options.latency)
    listening = Listening(stack) if options.listeners else None
    try:
        stack.start()
        verdict = _run(stack, options, seed, listening)
    finally:
        stack.stop()
    if verdict.kept:
        shutil.rmtree(folder)
        return 0
    print(f"replay with --seed {seed}; logs are in {folder}")
    return 1


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.chaos", description="Kill parts of the running service; count.")
    parser.add_argument("--seconds", type=float, default=120, help="how long faults are made")
    parser.add_argument("--seed", type=int, help="what is drawn; without it, any")
    parser.add_argument("--clients", type=int, default=12)
    parser.add_argument("--latency", type=float, default=0.15, help="how long a call to the filer takes (seconds)")
    parser.add_argument("--batches", type=int, default=0, help="submit so many batches, and nothing else")
    parser.add_argument("--members", type=int, default=200, help="of so many members each")
    parser.add_argument(
        "--listeners", action="store_true", help="judge what streams of events and webhooks tell meanwhile"
    )
    parser.add_argument("--pause", type=float, nargs=2, default=(1.0, 4.0), help="between faults (seconds, from to)")
    return parser.parse_args(argv)


def _run(stack: Stack, options: argparse.Namespace, seed: int, listening: Listening | None) -> Verdict:
    urls = [f"http://127.0.0.1:{port}" for port in stack.ports]
    # On a busy machine the first listing takes longer than a read waits without a preference.
    listed = requests.get(
        f"{urls[0]}/v4/{SUBSYSTEM}/volumes", auth=(USER, PASSWORD), headers={"Prefer": "wait=20"}, timeout=60
    ).json()
    wishes = Wishes(
        sorted(volume["name"] for volume in listed), by_path=_BY_PATH_IN_BATCHES if options.batches else 0.25
    )
    seen, stop = Seen(), threading.Event()
    clients: Sequence[threading.Thread]
    if options.batches:
        clients = batch_clients(
            stack, wishes, seen, seed, stop, clients=options.clients, batches=options.batches, size=options.members
        )
    else:
        clients = [Client(urls, wishes, seen, f"{seed}-{n}", stop) for n in range(options.clients)]
    if listening:
        listening.start(seed)
    faults = Faults(stack, random.Random(seed), pause_s=tuple(options.pause))
    for thread in (*clients, faults):
        thread.start()
    judge = Judge(stack)
    if options.batches:
        _await_batches(clients, judge, options.seconds)
    else:
        time.sleep(options.seconds)
    if listening:
        listening.stop_asking()
    faults.end()
    stop.set()
    for client in clients:
        client.join()
    drained = judge.await_end(_STUCK_AFTER_S)
    verdict = judge.judge(seen)
    if listening:
        verdict.bad |= listening.judge(lambda: judge.all_jobs("&all=true"))
    _print(verdict, faults, seen, drained, stack)
    return verdict


def _await_batches(clients: Sequence[threading.Thread], judge: Judge, most_s: float) -> None:
    """Wait until all batches are accepted and have ended, at most so many seconds."""
    until = time.monotonic() + most_s
    for client in clients:
        client.join(max(0.0, until - time.monotonic()))
    print(f"the last batch was accepted {most_s - until + time.monotonic():.0f} s after the first was sent", flush=True)
    while judge.open_jobs() and time.monotonic() < until:
        time.sleep(0.5)


def _print(verdict: Verdict, faults: Faults, seen: Seen, drained: str, stack: Stack) -> None:
    rows: list[tuple[str, object, str]] = [
        ("accepted", verdict.accepted, f"jobs, {verdict.batches} of them batches"),
        ("ended", verdict.ended, ", ".join(f"{state} {n}" for state, n in verdict.states.most_common())),
        *((name, len(verdict.bad[name]), why) for name, why in (BAD | BAD_NOTICES).items() if name in verdict.bad),
        ("failures", sum(verdict.codes.values()), ", ".join(f"{code} {n}" for code, n in verdict.codes.most_common())),
        ("fenced", verdict.fenced, "changes that came too late and that the filer refused"),
        ("drained", "", drained),
        ("faults", sum(faults.counts.values()), ", ".join(f"{n} × {kind}" for kind, n in faults.counts.most_common())),
        ("answers", sum(seen.statuses.values()), ", ".join(f"{word} {n}" for word, n in seen.statuses.most_common())),
        ("slowest", f"{seen.slowest_s:.1f} s", "answer to a client"),
        ("exits", sum(len(part.exits) for part in stack.parts), ", ".join(
            f"{part.name} {sorted(set(part.exits))}" for part in stack.parts if part.exits)),
    ]  # fmt: skip
    for name, number, more in rows:
        print(f"{name:>10}  {number!s:>8}  {more}")
    for name, lines in verdict.bad.items():
        for line in lines[:20]:
            print(f"{name}: {line}")


if __name__ == "__main__":
    sys.exit(main())
