"""``python -m deploy.dev.devserver start|stop|status``: the whole service on 127.0.0.1, in the background.

Also ``drain NODE``, ``resume NODE`` for one worker, and ``logs JOB`` for the log lines of one job.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from deploy.dev.private_environment import webhook_secrets
from deploy.dev.readiness import NodeWatch, Waiting, answers, ready_state
from deploy.dev.state import HOME, State, Trouble, one_at_a_time, write_private
from deploy.dev.supervision import (
    REDIS,
    STOP_WAIT_S,
    Program,
    Supervisor,
    await_end,
    end_leftovers,
    our_processes,
    write_config,
)
from deploy.dev.surroundings import BACKENDS_FILE, Backends, Ports, service_environment
from storage_backends.configuration.subsystems import ConfigurationError
from worker.config.settings import BadSettings, Settings, load

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The worker processes, and the queues of jobs that each serves. Two, so that one may die; both serve everything, since
#: each takes 80 MiB. Deployments have listings apart.
NODES = {"worker1": "write,read,list", "worker2": "write,read,list"}
#: Where the process that sends webhooks, and no other, finds its secrets.
WEBHOOK_SECRETS = HOME / "webhook-secrets.json"
REDIS_WAIT_S = 60
READY_WAIT_S = 90


def programs(ports: Ports, redis: EmbeddedRedis | None, *, sends_webhooks: bool = False) -> list[Program]:
    """Everything that runs."""
    python = sys.executable
    found = [Program(REDIS, (redis.program, "redis.conf"), redis.folder)] if redis else []
    api = (
        *(python, "-m", "deploy.dev.serve_api", "--interface", "wsgi", "api.wsgi:app", "--http", "1", "--no-ws"),
        *("--host", LOOPBACK, "--port", str(ports.api), "--backlog", "2048"),
        # Waiting clients hold a thread each, and so do event streams (SAPI_MAX_STREAMS). Long heads are let in: the
        # API itself refuses them, in its own words.
        *("--workers", str(ports.api_processes), "--blocking-threads", "712", "--http1-buffer-size", str(1024 * 1024)),
        *("--respawn-failed-workers", "--respawn-interval", "0.5", "--log-level", "warning"),
    )
    found.append(Program("api", api))
    for node, queue_classes in NODES.items():
        # `env` changes what supervisord hands on: workers alone learn where the credentials are.
        changed = ("env", "-u", "SAPI_BACKENDS", f"SAPI_BACKENDS_FILE={BACKENDS_FILE}")
        found.append(Program(node, (*changed, python, "-m", "worker.main", "--node", node, "--queues", queue_classes)))
    if sends_webhooks:
        alone = (python, "-m", "deploy.dev.private_environment", str(WEBHOOK_SECRETS))
        found.append(Program("webhooks", (*alone, python, "-m", "worker.webhooks.main")))
    flower = (
        *(python, "-m", "celery", "-A", "worker.flower.app:app", "flower", "--read-only=True", "--max-tasks=10000"),
        *(f"--address={LOOPBACK}", f"--port={ports.flower}"),
        *("--persistent=True", f"--db={HOME / 'flower.db'}", "--state_save_interval=10000"),
    )
    # Flower does not end while a question to a worker is open; it has written its data every 10 s.
    found.append(Program("flower", flower, stop_wait_s=5))
    return found


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
            Trouble: something in it is wrong.
        """
        try:
            backends = Backends.read(environ)
            load(Settings)
        except (ConfigurationError, BadSettings) as error:
            raise Trouble(str(error)) from error
        return cls(Ports.chosen(environ), backends, environ, State.load())

    @property
    def api_url(self) -> str:
        """Where the API is."""
        return f"http://{LOOPBACK}:{self.ports.api}"

    def start(self) -> None:
        """Start everything and return when all of it answers; if that fails, nothing is left running.

        Raises:
            Trouble: it is running, or a port is taken, or something does not come up.
        """
        supervisor = Supervisor(self.state.socket)
        if supervisor.is_running():
            raise Trouble("the development server is running already: see `make status`, or `make stop` first")
        if end_leftovers():
            print("Ended processes that an earlier development server had left behind.")
        self.ports.check_free()
        redis = self._embedded_redis()
        try:
            self._launch(redis)
        except BaseException:
            stop_everything()
            raise

    def _embedded_redis(self) -> EmbeddedRedis | None:
        """Our own Redis, on the port it had last time if that is free; None when one was named."""
        url = self.environ.get("SAPI_REDIS_URL")
        try:
            if url:
                await_redis(url, timeout_s=2)
                return None
            if not (self.state.redis_port and is_free(self.state.redis_port)):
                self.state.redis_port = free_port()
            return EmbeddedRedis(find_server(), HOME / "redis", self.state.redis_port, self.state.redis_password)
        except (NotReadyError, ValueError) as error:
            raise Trouble(f"SAPI_REDIS_URL: no answer ({error}); mend it, or unset it for an embedded Redis") from error
        except NoServerError as error:
            raise Trouble(str(error)) from error

    def _launch(self, redis: EmbeddedRedis | None) -> None:
        self.state.settle_socket()
        self.state.save()
        write_private(BACKENDS_FILE, self.backends.subsystems.to_toml())
        # The command line finds the service of its checkout by this file.
        write_private(HOME / "api.url", f"{self.api_url}\n")
        write_private(WEBHOOK_SECRETS, json.dumps(self.webhook_secrets))
        sends_webhooks = bool({"SAPI_WEBHOOKS_FILE", "SAPI_CALLBACK_HOSTS"} & self.environ.keys())
        write_config(programs(self.ports, redis, sends_webhooks=sends_webhooks), self.state.socket)
        url = redis.url if redis else self.environ["SAPI_REDIS_URL"]
        shared = {name: value for name, value in self.environ.items() if name not in self.webhook_secrets}
        environment = service_environment(shared, self.backends, url, self.state.secret_key)
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
    def webhook_secrets(self) -> dict[str, str]:
        """The variables of the process that sends webhooks alone."""
        return webhook_secrets(self.environ)

    def _queues(self) -> dict[str, list[str]]:
        """By node: the queues it is to serve."""
        served = set(filter(None, self.environ.get("SAPI_SUBSYSTEMS", "").split(","))) or set(self.backends.subsystems)
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
        print(f"Flower                      http://{LOOPBACK}:{self.ports.flower}/")
        print(f"Logs and data               {os.path.relpath(HOME)}/   (make logs, make status, make stop)")
        program = os.path.relpath(Path(sys.executable).with_name("storage-api"))
        print(f"\nTry:  {program} login; {program} volume list {next(iter(self.backends.subsystems))}")


def stop_everything() -> int:
    """Stop what runs and wait until all of it is gone; how many processes there were."""
    found = len(list(our_processes()))
    supervisor = Supervisor(State.load().socket)
    if supervisor.is_running():
        supervisor.shut_down()
        await_end(2 * STOP_WAIT_S)
    end_leftovers()
    return found


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
        Trouble: none is running.
    """
    supervisor = Supervisor(State.load().socket)
    if not supervisor.is_running():
        raise Trouble("the development server is not running: make devserver")
    processes = supervisor.processes()
    for process in processes:
        print(f"{process['name']:10} {process['statename']:10} {process['description']}")
    advice = [*_about_processes(processes), *_about_service(Ports.chosen(os.environ).api)]
    print("\n" + ("\n".join(f"! {line}" for line in advice) or "All is well."))


def _about_processes(processes: list[dict[str, Any]]) -> Iterator[str]:
    for process in processes:
        name, state = process["name"], process["statename"]
        if state == "STOPPED" and name in NODES:
            yield f"{name} is drained: make resume NODE={name}"
        elif state not in ("RUNNING", "STARTING"):
            yield f"{name} does not run ({state}); the end of {os.path.relpath(HOME)}/logs/{name}.log says why"


def _about_service(port: int) -> Iterator[str]:
    """What is wrong by the service's own word, and what to do."""
    state = ready_state(port)
    if state is None:
        yield f"the API does not answer on port {port}: see {os.path.relpath(HOME)}/logs/api.log"
        return
    if state.get("status") != "ready":
        yield f"no job can be recorded: {state.get('detail', '')}"
    for queue, known in state.get("queues", {}).items():
        if not known["workers_online"]:
            yield f"no worker serves {queue}, where {known['waiting']} jobs wait: make resume NODE=..."
    for name, known in state.get("subsystems", {}).items():
        if known.get("status") == "unavailable":
            yield f"the storage system {name} cannot be used: {known.get('detail', '')}"


def drain(node: str) -> None:
    """Let one worker finish and end; it stays ended until it is resumed.

    Raises:
        Trouble: there is no such worker, or it does not run.
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
        Trouble: there is no such worker, or it runs.
    """
    _require_node(node)
    Supervisor(State.load().socket).resume(node)
    print(f"{node} runs again.")


def _require_node(node: str) -> None:
    if node not in NODES:
        raise Trouble(f"NODE must be one of {', '.join(NODES)}")


def logs(job_id: str) -> None:
    """Show the log lines of one job, of all processes, in the order of time.

    Raises:
        Trouble: no line names it.
    """
    wanted = job_id.strip().lower()
    lines = [
        line
        for path in sorted((HOME / "logs").glob("*.log*"))
        for line in path.read_text(errors="replace").splitlines()
        if wanted in line.lower()
    ]
    if not wanted or not lines:
        raise Trouble(f"no line of the logs names the job {job_id or '(none given: make logs JOB=...)'}")
    print("\n".join(sorted(lines, key=_time_of)))


def _time_of(line: str) -> str:
    found = re.search(r'"(?:timestamp|time)":\s?"([^"]+)"', line)
    return found[1] if found else ""


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
    except Trouble as trouble:
        print(f"{trouble}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; nothing is left running", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
