"""``python -m deploy.dev.devserver start|stop|status``: the whole service on 127.0.0.1, in the background.

Also ``drain NODE``, ``resume NODE`` for one worker, and ``logs JOB`` for the log lines of one job.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from deploy.dev.advice import about_processes, about_service, log_lines
from deploy.dev.embedded_redis import (
    LOOPBACK,
    EmbeddedRedis,
    NoServerError,
    NotReadyError,
    await_redis,
    find_server,
    free_port,
    is_free,
)
from deploy.dev.environment import BACKENDS_FILE, Backends, Ports, service_environment
from deploy.dev.private_environment import webhook_secrets
from deploy.dev.programs import NODES, WEBHOOK_SECRETS, programs
from deploy.dev.readiness import NodeWatch, Waiting, answers
from deploy.dev.state import DEV_DIR, DevServerError, State, one_at_a_time, write_private
from deploy.dev.supervision import (
    REDIS,
    STOP_WAIT_S,
    Supervisor,
    await_end,
    end_leftovers,
    our_processes,
    write_config,
)
from storage_backends.configuration.subsystems import ConfigurationError
from worker.config.settings import BadSettings, Settings, load

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The file with the address of the API; the client's commands look there, too.
_API_URL = DEV_DIR / "api.url"
REDIS_WAIT_S = 60
READY_WAIT_S = 90


@dataclass
class DevServer:
    """One start: what was asked for, checked before anything runs."""

    ports: Ports
    backends: Backends
    environ: Mapping[str, str]
    state: State

    @classmethod
    def asked_for(cls, environ: Mapping[str, str]) -> DevServer:
        """Read and check the environment.

        Raises:
            DevServerError: something in it is wrong.
        """
        try:
            backends = Backends.read(environ)
            load(Settings)
        except (ConfigurationError, BadSettings) as error:
            raise DevServerError(str(error)) from error
        return cls(Ports.chosen(environ), backends, environ, State.load())

    @property
    def api_url(self) -> str:
        """Where the API is."""
        return f"http://{LOOPBACK}:{self.ports.api}"

    @property
    def flower_url(self) -> str:
        """Where Flower is."""
        return f"http://{LOOPBACK}:{self.ports.flower}"

    def start(self) -> None:
        """Start everything and return when all of it answers; if that fails, nothing is left running.

        Raises:
            DevServerError: it is running, or a port is taken, or something does not come up.
        """
        supervisor = Supervisor(self.state.socket)
        if supervisor.is_running():
            raise DevServerError("the development server is running already: see `make status`, or `make stop` first")
        if end_leftovers():
            print("Ended processes that an earlier development server had left behind.")
        self.ports.check_free()
        redis = self.embedded_redis()
        try:
            self._launch(redis)
        except BaseException:
            stop_everything()
            raise

    def embedded_redis(self) -> EmbeddedRedis | None:
        """Our own Redis, on the port it had last time if that is free; None when one was named.

        Raises:
            DevServerError: the named one does not answer, or there is no server program.
        """
        url = self.environ.get("SAPI_REDIS_URL")
        try:
            if url:
                await_redis(url, timeout_s=2)
                return None
            if not (self.state.redis_port and is_free(self.state.redis_port)):
                self.state.redis_port = free_port()
            return EmbeddedRedis(find_server(), DEV_DIR / "redis", self.state.redis_port, self.state.redis_password)
        except (NotReadyError, ValueError) as error:
            raise DevServerError(
                f"SAPI_REDIS_URL: no answer ({error}); mend it, or unset it for an embedded Redis"
            ) from error
        except NoServerError as error:
            raise DevServerError(str(error)) from error

    def _launch(self, redis: EmbeddedRedis | None) -> None:
        self.state.settle_socket()
        self.state.save()
        write_private(BACKENDS_FILE, self.backends.subsystems.to_toml())
        # The command line finds the service of its checkout by this file.
        write_private(_API_URL, f"{self.api_url}\n")
        write_private(WEBHOOK_SECRETS, json.dumps(self.webhook_secrets))
        write_config(programs(self.ports, redis, sends_webhooks=self.sends_webhooks), self.state.socket)
        url = redis.url if redis else self.environ["SAPI_REDIS_URL"]
        shared = {name: value for name, value in self.environ.items() if name not in self.webhook_secrets}
        environment = service_environment(shared, self.backends, url, self.state.secret_key, self.flower_url)
        supervisor = Supervisor(self.state.socket)
        if redis:
            redis.write_config()
        supervisor.launch(environment)
        if redis:
            supervisor.start_redis()
            Waiting(supervisor, [REDIS], lambda missing: missing if redis.answers() else set()).run(REDIS_WAIT_S)
        os.environ.update(environment)  # From here on we look at Redis with the settings that the workers have.
        nodes = NodeWatch(load(Settings), self._queues())
        supervisor.start_service()
        Waiting(supervisor, ["api", "flower", *NODES], lambda missing: self._ready(missing, nodes)).run(READY_WAIT_S)

    @property
    def sends_webhooks(self) -> bool:
        """May there be receivers of webhooks?"""
        return bool({"SAPI_WEBHOOKS_FILE", "SAPI_CALLBACK_HOSTS"} & self.environ.keys())

    @property
    def webhook_secrets(self) -> dict[str, str]:
        """The variables of the process that sends webhooks alone."""
        return webhook_secrets(self.environ)

    def _queues(self) -> dict[str, list[str]]:
        """By node: the queues it is to serve."""
        named = {name.strip() for name in self.environ.get("SAPI_SUBSYSTEMS", "").split(",")} - {""}
        served = named or set(self.backends.subsystems)
        return {
            node: [f"{name}.{queue_class}" for name in served for queue_class in queue_classes.split(",")]
            for node, queue_classes in NODES.items()
        }

    def _ready(self, missing: set[str], nodes: NodeWatch) -> set[str]:
        """Which of these programs answer."""
        ready = nodes.online() if missing & NODES.keys() else set()
        for name, port, path in (("api", self.ports.api, "/readyz"), ("flower", self.ports.flower, "/healthcheck")):
            if name in missing and answers(port, path):
                ready.add(name)
        return ready

    def announce(self) -> None:
        """Say where everything is, and what to try."""
        print(f"API and its documentation   {self.api_url}/")
        print(f"Console                     {self.api_url}/console/")
        print(f"Flower                      {self.flower_url}/")
        if self.ports.admin:
            print(f"Probes and metrics          http://{LOOPBACK}:{self.ports.admin}/metrics")
        print(f"Logs and data               {os.path.relpath(DEV_DIR)}/   (make logs, make status, make stop)")
        program = os.path.relpath(Path(sys.executable).with_name("storage-api"))
        print(f"\nTry:  {program} login; {program} volume list {next(iter(self.backends.subsystems))}")


def stop_everything() -> int:
    """Stop what runs and wait until all of it is gone; how many processes there were."""
    process_count = len(list(our_processes()))
    supervisor = Supervisor(State.load().socket)
    if supervisor.is_running():
        supervisor.shut_down()
        await_end(2 * STOP_WAIT_S)
    end_leftovers()
    return process_count


def start() -> None:
    """Start, and say where."""
    with one_at_a_time():
        server = DevServer.asked_for(os.environ)
        server.start()
        server.announce()


def stop() -> None:
    """Stop, and say so."""
    with one_at_a_time():
        print("Stopped." if stop_everything() else "Nothing was running.")


def status() -> None:
    """Show every process.

    Raises:
        DevServerError: none is running.
    """
    supervisor = Supervisor(State.load().socket)
    if not supervisor.is_running():
        raise DevServerError("the development server is not running: make devserver")
    processes = supervisor.processes()
    for process in processes:
        print(f"{process['name']:10} {process['statename']:10} {process['description']}")
    # The port with which it was started: the variable need not be set for this command.
    port = urlsplit(_API_URL.read_text().strip()).port
    advice = [*about_processes(processes), *about_service(port or 0)]
    print("\n" + ("\n".join(f"! {line}" for line in advice) or "All is well."))


def drain(node: str) -> None:
    """Let one worker finish and end; it stays ended until it is resumed.

    Raises:
        DevServerError: there is no such worker, or it does not run.
    """
    _require_node(node)
    print(
        f"{node} takes no new jobs; waiting until it has finished or handed over its own (at most 40 s) ...", flush=True
    )
    Supervisor(State.load().socket).stop(node)
    print(f"{node} has ended. Start it again with: make resume NODE={node}")


def resume(node: str) -> None:
    """Start a worker that was drained.

    Raises:
        DevServerError: there is no such worker, or it runs.
    """
    _require_node(node)
    Supervisor(State.load().socket).resume(node)
    print(f"{node} starts again; in some seconds it serves its queues.")


def _require_node(node: str) -> None:
    if node not in NODES:
        raise DevServerError(f"NODE must be one of {', '.join(NODES)}")


def logs(job_id: str) -> None:
    """Show the log lines of one job, of all processes, in the order of time.

    Raises:
        DevServerError: no line names it.
    """
    print("\n".join(log_lines(job_id)))


def main(arguments: list[str]) -> int:
    """Carry out one command; 0 when it worked."""
    commands: dict[str, Callable[[], None]] = {"start": start, "stop": stop, "status": status}
    about_one: dict[str, Callable[[str], None]] = {"drain": drain, "resume": resume, "logs": logs}
    command, *rest = arguments or [""]
    if len(rest) != (command in about_one) or command not in {*commands, *about_one}:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        if command in about_one:
            about_one[command](rest[0])
        else:
            commands[command]()
    except DevServerError as error:
        print(f"{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; nothing is left running", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
