"""A real Redis server that has the configuration and the users of the deployment."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from redis import Redis

from deploy.compose.make_secrets import USERS, make_all
from deploy.dev.embedded_redis import await_redis, find_server, free_port
from tests.deploy.stack import ROOT
from worker.config.settings import Settings

#: A user beside those of the deployment, who may look into the server's log of what it has denied.
_OBSERVER = "user observer on >observer ~* &* +@all"


@dataclass
class Server:
    """A server with the users of ``deploy/redis/users.acl``, each with a password of its own."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        config = (ROOT / "deploy/redis/redis.conf").read_text("utf-8")
        config = config.replace("/run/storage-api", "redis").replace("dir /data", "dir .").replace("bind * -::*", "")
        (self.folder / "redis.conf").write_text(f"{config}\nport {self.port}\nbind 127.0.0.1\n", "utf-8")
        command = [find_server(), "redis.conf"]
        self.process = subprocess.Popen(command, cwd=self.folder, stdout=subprocess.DEVNULL)
        password = (self.folder / "redis" / "health_password").read_text("utf-8")
        await_redis(f"redis://health:{password}@127.0.0.1:{self.port}/0", timeout_s=20)

    def kill(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=20)

    def url(self, user: str) -> str:
        """The address for one of the deployment's users."""
        return (self.folder / USERS[user]).read_text("utf-8").replace("@redis:6379", f"@127.0.0.1:{self.port}")

    def settings(self, user: str) -> Settings:
        return Settings(redis_url=self.url(user))

    def denied(self) -> list[str]:
        """What users were not allowed to do, each with its user."""
        with Redis(
            "127.0.0.1", port=self.port, username="observer", password="observer", decode_responses=True
        ) as client:
            entries = client.acl_log()
        denials = [f"{entry['username']}: {entry['reason']} {entry['object']}" for entry in entries]
        # That is these tests' own client, which waits for the server as a health check and says what it is.
        return [denial for denial in denials if denial != "health: command client|setinfo"]


@contextmanager
def running(folder: Path) -> Iterator[Server]:
    """The server, up while the block runs."""
    for name in ("api", "worker", "webhooks", "flower", "redis"):
        (folder / name).mkdir()
    make_all(ROOT / "deploy/redis/users.acl", folder)
    with (folder / "redis" / "users.acl").open("a", encoding="utf-8") as users:
        users.write(f"\n{_OBSERVER}\n")
    server = Server(folder)
    server.start()
    try:
        yield server
    finally:
        server.kill()
