"""``python -m tests.chaos.attack --seconds 300``: exit code 0 only when other clients were hardly affected."""
# ruff: noqa: T201 - it prints its results to the terminal

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.attack.attackers import Attacker
from tests.chaos.attack.measuring import Measuring, Series, is_borne, table
from tests.chaos.attack.service import Service, running


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, attack, measure, print."""
    options = _arguments(argv)
    folder = Path(tempfile.mkdtemp(prefix="attack-"))
    folder.chmod(0o755)
    print(f"{options.seconds:.0f} s, everything is in {folder}", flush=True)
    with running(folder, with_proxy=options.proxy) as service:
        before, during, after = _run(service, options)
        memory = service.redis.info("memory")
    for line in table(before, during, after):
        print(line)
    print(f"Redis holds {memory['used_memory'] / 2**20:.0f} MiB, and had {memory['used_memory_peak'] / 2**20:.0f} MiB")
    borne = is_borne(before, during, options.most)
    if borne:
        shutil.rmtree(folder)
    return 0 if borne else 1


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.chaos.attack", description="Try to stop the service for others.")
    parser.add_argument("--seconds", type=float, default=300, help="how long the attack lasts")
    parser.add_argument("--quiet", type=float, default=30, help="how long is measured before and after it (seconds)")
    parser.add_argument("--proxy", action="store_true", help="with nginx in front, as the deployments have it")
    parser.add_argument("--only", nargs="*", default=(), help="these kinds of attack alone (names of methods)")
    parser.add_argument("--most", type=float, default=3.0, help="how many times the undisturbed p99 is borne")
    return parser.parse_args(argv)


def _run(
    service: Service, options: argparse.Namespace
) -> tuple[dict[str, Series], dict[str, Series], dict[str, Series]]:
    measuring = Measuring(service)
    with measuring.measured():
        time.sleep(5)  # The first requests fill caches.
    with measuring.measured() as before:
        time.sleep(options.quiet)
    with measuring.measured() as during:
        for who, statuses in _attack(service, options).items():
            print(f"{who} was answered {', '.join(f'{status}: {n}' for status, n in sorted(statuses.items()))}")
    with measuring.measured() as after:
        time.sleep(options.quiet)
    return before, during, after


def _attack(service: Service, options: argparse.Namespace) -> dict[str, Counter[str]]:
    context = multiprocessing.get_context("spawn")
    stop, results = context.Event(), context.Queue()
    attackers = [Attacker("a stranger", service.public, ""), Attacker("a user", service.public, service.user)]
    processes = [
        context.Process(target=attacker.run, args=(stop, results, tuple(options.only))) for attacker in attackers
    ]
    for process in processes:
        process.start()
    time.sleep(options.seconds)
    stop.set()
    statuses = dict(results.get(timeout=60) for _ in processes)
    for process in processes:
        process.kill()
        process.join()
    return statuses


if __name__ == "__main__":
    sys.exit(main())
