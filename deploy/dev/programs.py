"""The programs of the development server with their command lines."""

from __future__ import annotations

import sys

from deploy.dev.embedded_redis import LOOPBACK, EmbeddedRedis
from deploy.dev.environment import BACKENDS_FILE, Ports
from deploy.dev.state import DEV_DIR
from deploy.dev.supervision import REDIS, Program

#: The worker processes, and the queues of jobs that each serves. Two, so that one may die; both serve everything, since
#: each takes 80 MiB. Deployments have listings apart.
NODES = {"worker1": "write,read,list", "worker2": "write,read,list"}
#: The file with the secrets of the process that sends webhooks.
WEBHOOK_SECRETS = DEV_DIR / "webhook-secrets.json"


def programs(ports: Ports, redis: EmbeddedRedis | None, *, sends_webhooks: bool = False) -> list[Program]:
    """Return all programs."""
    python = sys.executable
    supervised = [Program(REDIS, (redis.program, "redis.conf"), redis.folder)] if redis else []
    api = (
        *(python, "-m", "api.serve", "--interface", "wsgi", "api.wsgi:app", "--http", "1", "--no-ws"),
        *("--host", LOOPBACK, "--port", str(ports.api), "--backlog", "2048"),
        # Waiting clients hold a thread each, and so do event streams (SAPI_MAX_STREAMS). Long heads are accepted: the
        # API itself refuses them with a problem document. There may be more connections than threads.
        *("--workers", str(ports.api_processes), "--blocking-threads", "2000", "--http1-buffer-size", str(256 * 1024)),
        *("--backpressure", "4096"),
        *("--respawn-failed-workers", "--respawn-interval", "0.5", "--log-level", "warning"),
    )
    supervised.append(Program("api", api))
    for node, queue_classes in NODES.items():
        # `env` changes the environment: only workers get the path of the credentials.
        changed = ("env", "-u", "SAPI_BACKENDS", f"SAPI_BACKENDS_FILE={BACKENDS_FILE}")
        supervised.append(
            Program(node, (*changed, python, "-m", "worker.main", "--node", node, "--queues", queue_classes))
        )
    if sends_webhooks:
        alone = (python, "-m", "deploy.dev.private_environment", str(WEBHOOK_SECRETS))
        supervised.append(Program("webhooks", (*alone, python, "-m", "worker.webhooks.main")))
    flower = (
        *(python, "-m", "celery", "-A", "worker.flower.app:app", "flower", "--read-only=True", "--max-tasks=10000"),
        *(f"--address={LOOPBACK}", f"--port={ports.flower}"),
        *("--persistent=True", f"--db={DEV_DIR / 'flower.db'}", "--state_save_interval=10000"),
    )
    # Flower does not end while a request to a worker is pending; it writes its data every 10 s.
    supervised.append(Program("flower", flower, stop_wait_s=5))
    return supervised
