"""Random faults with random times and durations, reproducible by a seed, and undone at the end."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import redis

from tests.chaos.stack import LEASE_S, Part, Stack
from tests.redis_states import STATES, make_well


class Faults(threading.Thread):
    """Causes faults, some of them at the same time."""

    def __init__(self, stack: Stack, rng: random.Random, *, pause_s: tuple[float, float]) -> None:
        super().__init__(name="faults", daemon=True)
        self._stack = stack
        self._rng = rng
        self._pause_s = pause_s
        self._over = threading.Event()
        self._under_way: list[threading.Thread] = []
        self.counts: Counter[str] = Counter()
        self._kinds: list[tuple[int, Callable[[], None]]] = [
            (6, self._kill_worker),
            (4, self._freeze_worker),
            (2, self._drain_worker),
            (2, self._kill_api),
            (1, self._freeze_api),
            (3, self._kill_redis),
            (3, self._freeze_redis),
            (3, self._drop_connections),
            (4, self._trouble_redis),
            (1, self._flush_scripts),
            (2, self._filer_away),
        ]

    def run(self) -> None:
        while not self._over.wait(self._rng.uniform(*self._pause_s)):
            fault = self._rng.choices([kind for _, kind in self._kinds], [weight for weight, _ in self._kinds])[0]
            self.counts[fault.__name__.strip("_").replace("_", " ")] += 1
            thread = threading.Thread(target=fault, daemon=True)
            thread.start()
            self._under_way.append(thread)
            if self._rng.random() < 0.6:
                thread.join()

    def end(self) -> None:
        """Stop, and undo all faults."""
        self._over.set()
        self.join()
        for thread in self._under_way:
            thread.join()

    def _freeze(self, part: Part, seconds: float) -> None:
        part.signal(signal.SIGSTOP)
        time.sleep(seconds)
        part.signal(signal.SIGCONT)

    def _kill(self, part: Part, down_s: float) -> None:
        part.held_down.set()
        part.signal(signal.SIGKILL)
        time.sleep(down_s)
        part.held_down.clear()

    def _kill_worker(self) -> None:
        self._kill(self._rng.choice(self._stack.workers), self._rng.uniform(0, 3))

    def _freeze_worker(self) -> None:
        self._freeze(self._rng.choice(self._stack.workers), self._rng.uniform(1, LEASE_S * 2.5))

    def _drain_worker(self) -> None:
        self._rng.choice(self._stack.workers).signal(signal.SIGTERM)

    def _kill_api(self) -> None:
        self._kill(self._rng.choice(self._stack.apis), self._rng.uniform(0, 2))

    def _freeze_api(self) -> None:
        self._freeze(self._rng.choice(self._stack.apis), self._rng.uniform(1, 5))

    def _kill_redis(self) -> None:
        self._kill(self._stack.store, self._rng.uniform(0, 4))

    def _freeze_redis(self) -> None:
        self._freeze(self._stack.store, self._rng.uniform(0.5, LEASE_S * 1.5))

    def _drop_connections(self) -> None:
        with suppress(redis.RedisError), self._client() as client:
            client.client_kill_filter(_type="normal", skipme=True)
            client.client_kill_filter(_type="pubsub")

    def _trouble_redis(self) -> None:
        """Make Redis refuse writes or clients; a restart meanwhile ends that, too."""
        name = self._rng.choice(sorted(STATES))
        self.counts[f"redis: {name}"] += 1
        with self._client() as client:
            with suppress(redis.RedisError), STATES[name](client, self._stack.redis.folder):
                time.sleep(self._rng.uniform(1, 4))
            # It may be frozen or killed by another fault.
            while not self._is_well(client):
                time.sleep(0.5)

    def _is_well(self, client: redis.Redis) -> bool:
        try:
            make_well(client, self._stack.redis.folder)
        except redis.RedisError:
            return False
        return True

    def _flush_scripts(self) -> None:
        with suppress(redis.RedisError), self._client() as client:
            client.script_flush()

    def _filer_away(self) -> None:
        self._stack.away_file.touch()
        time.sleep(self._rng.uniform(1, 8))
        self._stack.away_file.unlink(missing_ok=True)

    def _client(self) -> redis.Redis:
        return redis.Redis.from_url(self._stack.redis.url, socket_timeout=5)
