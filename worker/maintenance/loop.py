"""Looks after open jobs: rings again for those that no worker heard of, and has settled what a lost worker left."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import structlog

from worker.config.settings import Settings
from worker.execution.claims import LOOK_AHEAD, LOSSES, grace_ms
from worker.messaging.messages import rings
from worker.messaging.publisher import Bell
from worker.store.client import RedisAway, Scripts

log = structlog.get_logger(__name__)

_EVERY_S = 1.0
_SETTLERS = 4
_PRESENT_EVERY = 3
_REAP_EVERY = 10
_REAP_AT_MOST = 100


class Sweeper(threading.Thread):
    """One per worker process; any number may sweep at a time, since each step is taken once."""

    def __init__(
        self,
        scripts: Scripts,
        bell: Bell,
        settings: Settings,
        *,
        node: str,
        subsystems: Sequence[str],
        queues: Sequence[str],
        settle: Callable[[str, str], None],
        room: Callable[[str], int],
        drain: threading.Event,
        chores: Sequence[Callable[[], object]] = (),
    ) -> None:
        super().__init__(name="sweeper", daemon=True)
        self._scripts = scripts
        self._bell = bell
        self._settings = settings
        self._node = node
        self._subsystems = subsystems
        self._queues = queues
        self._settle = settle
        self._chores = chores
        self._over = threading.Event()
        self._room_of = room
        self._drain = drain
        self._settling = 0
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(_SETTLERS, thread_name_prefix="settler")

    def stop(self) -> None:
        """End the thread; what is being settled is handed on by its journal."""
        self._over.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def run(self) -> None:
        turn = 0
        while not self._over.is_set():
            try:
                self._turn(turn)
            except RedisAway as exc:
                log.warning("sweep.failed", error=type(exc).__name__)
            except Exception:
                log.exception("sweep.failed")
            turn += 1
            self._over.wait(_EVERY_S)

    def _turn(self, turn: int) -> None:
        if turn % _PRESENT_EVERY == 0:
            self._scripts.present(self._node, *self._queues)
        for subsystem in self._subsystems:
            self.sweep(subsystem)
        self._fill_room()
        if turn % _REAP_EVERY == 0:
            self._reap()
        for chore in self._chores:
            chore()

    def sweep(self, subsystem: str) -> None:
        """Look once after the open jobs of one subsystem."""
        owner = f"settle:{secrets.token_hex(6)}"
        bells, to_settle, failed = self._scripts.sweep(
            subsystem, self._settings.lease * 1000, grace_ms(self._settings.lease), LOSSES,
            self._settings.job_keep * 1000, owner, self._room(),
        )  # fmt: skip
        self._bell.ring(rings(bells))
        for job_id in failed:
            log.warning("job.given-up", job_id=job_id.decode(), subsystem=subsystem)
        for job_id in to_settle:
            log.warning("job.settling", job_id=job_id.decode(), subsystem=subsystem)
            with self._lock:
                self._settling += 1
            self._pool.submit(self._settle_one, job_id.decode(), owner)

    def _fill_room(self) -> None:
        """No slot stays empty while a job waits whose ring was lost, or was heard where no slot was free."""
        for queue in self._queues:
            room = 0 if self._drain.is_set() else self._room_of(queue)
            if room > 0:
                self._bell.ring(rings(self._scripts.waiting(queue, room, LOOK_AHEAD)))

    def _room(self) -> int:
        """How many more jobs may be settled here: a job that waits for a thread would lose its lease again."""
        with self._lock:
            return 0 if self._drain.is_set() else _SETTLERS - self._settling

    def _settle_one(self, job_id: str, owner: str) -> None:
        try:
            self._settle(job_id, f"{owner}:{job_id}")
        except RedisAway as exc:
            log.warning("settle.later", job_id=job_id, error=type(exc).__name__)
        except Exception:
            log.exception("settle.failed", job_id=job_id)
        finally:
            with self._lock:
                self._settling -= 1

    def _reap(self) -> None:
        while self._scripts.reap(_REAP_AT_MOST) == _REAP_AT_MOST and not self._over.is_set():
            continue
