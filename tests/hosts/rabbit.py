"""A RabbitMQ of one's own: on 127.0.0.1, with its own node name, folder and port mapper."""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path

from kombu.connection import Connection

from deploy.dev.embedded_redis import free_port, is_free
from tests.hosts.deployment import Deployment, eventually
from tests.launcher import end

#: Debian's program that runs as the user that starts it (`rabbitmq-server` itself changes the user).
_SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
_USER = "hosts"


def why_impossible() -> str | None:
    """Why there can be no RabbitMQ on this machine; None when there can."""
    if not _SERVER.exists() or shutil.which("epmd") is None:
        return "there is no RabbitMQ (Debian: rabbitmq-server)"
    return None


class Rabbit:
    """The broker, which can be killed and started again with what it has on disk."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._folder = deployment.folder / "rabbit"
        self._folder.mkdir()
        self._port, self._mapper_port = free_port(), free_port()
        self.url = f"amqp://{_USER}:{_USER}@127.0.0.1:{self._port}//"
        self._process: subprocess.Popen[bytes] | None = None
        (self._folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self._port}\n"
            f"default_user = {_USER}\ndefault_pass = {_USER}\n"
            "log.file = false\nlog.console = true\nlog.console.level = warning\n"
        )
        (self._folder / "plugins").write_text("[].\n")
        mapper = ("epmd", "-port", str(self._mapper_port), "-address", "127.0.0.1")
        deployment.start("epmd", *mapper, env=self._env)
        # The broker would start one itself otherwise, which outlives the test.
        eventually(lambda: not is_free(self._mapper_port), "the port mapper listens")

    def start(self) -> None:
        """Start it, and return when it takes connections."""
        self._process = self._deployment.start("rabbit", str(_SERVER), env=self._env, cwd=self._folder)
        eventually(self._answers, "RabbitMQ answers", 60)

    def kill(self) -> None:
        """Kill it."""
        assert self._process is not None
        end(self._process, signal.SIGKILL)

    def signal(self, number: int) -> None:
        """Freeze it (SIGSTOP), or let it go on (SIGCONT)."""
        assert self._process is not None
        self._process.send_signal(number)

    def _answers(self) -> bool:
        try:
            with Connection(self.url, connect_timeout=2, transport_options={"read_timeout": 2}) as connection:
                connection.connect()
        except connection.connection_errors:
            return False
        return True

    @property
    def _env(self) -> dict[str, str]:
        folder = str(self._folder)
        return {
            "HOME": folder,
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self._mapper_port),
            "RABBITMQ_NODENAME": f"sapi{self._port}@localhost",
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq",
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_MNESIA_BASE": f"{folder}/mnesia",
            "RABBITMQ_LOG_BASE": f"{folder}/log",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/plugins",
            # Then the script becomes the broker, instead of starting it.
            "RUNNING_UNDER_SYSTEMD": "true",
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +S 1:1",
        }
