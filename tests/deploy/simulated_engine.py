"""A simulated engine, for what ``roll_out.sh`` does where no engine is; see ``simulated_client`` for its client.

It answers as Docker and Compose do: containers start, become healthy or crash, and go. Only what the script uses is
there; anything else is an error. ``tests/deploy/test_engine.py`` does the same on a real engine.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

_PROJECT = "played"
#: The file of servers that the proxy begins with.
DOCKERS_NAMES = "whatever Docker's name server says"
#: By service: the part whose image it runs.
SERVICES = {"worker": "worker", "worker-list": "worker", "flower": "worker", "api": "api"}


@dataclass
class Image:
    """An image: its release, what a front end tells at /healthz, which services crash (as `crashed`) or stay so.

    A service crashes at once, or as in `worker later` after it has been healthy.
    """

    release: str
    reported_release: str = ""
    crashing: frozenset[str] = frozenset()
    crashed: str = "restarting/unhealthy/1"
    slow: frozenset[str] = frozenset()


@dataclass
class Container:
    """A container, and the state of its process."""

    name: str
    service: str
    image: str
    state: str = "running/starting/0"
    oneoff: bool = False


class Refused(Exception):
    """What the client prints before it exits with 1."""


class Engine:
    """The engine, with a stack of one version up."""

    def __init__(self, version: str) -> None:
        self.images = {f"storage-api/{part}:{version}": Image(version) for part in ("api", "worker")}
        self.dotenv = {"SAPI_VERSION": version}
        self.published = "8000"
        #: With a proxy before the front ends, which publish no port: the servers that it was set to each time, with
        #: the containers of front ends at that moment.
        self.proxy_updates: list[tuple[str, set[str]]] | None = None
        #: Which docker-compose.yml there is, and what the container of the service ``secrets`` was made from.
        self.files = "of 0.1.0"
        self.secrets = ("of 0.1.0", f"storage-api/worker:{version}")
        self.containers: dict[str, Container] = {}
        self.commands: list[list[str]] = []
        #: Containers that ended by themselves, not by a command.
        self.killed: list[str] = []
        #: By service: the lowest number of working containers at any time.
        self.fewest: dict[str, int] = {}
        self._numbers = itertools.count(1)
        for service in ("redis", *SERVICES):
            self._create(service, {}).state = "running/healthy/0"
        self.fewest = self._healthy()

    # --- what a test looks at

    def versions(self) -> dict[str, str]:
        """By container: the version of its image, of all that are not Redis's."""
        return {
            name: container.image.rpartition(":")[2]
            for name, container in self.containers.items()
            if container.service in SERVICES
        }

    def _healthy(self) -> dict[str, int]:
        counts = dict.fromkeys(SERVICES, 0)
        for container in self.containers.values():
            if container.service in SERVICES and container.state == "running/healthy/0" and not container.oneoff:
                counts[container.service] += 1
        return counts

    # --- what the client asks

    def answer(self, words: list[str], environment: dict[str, str]) -> tuple[int, str]:
        """The exit code, and what is printed."""
        self.commands.append(words)
        try:
            return 0, self._do(words, self.dotenv | environment)
        except Refused as error:
            return 1, f"{error}\n"
        finally:
            now = self._healthy()
            self.fewest = {service: min(count, now[service]) for service, count in self.fewest.items()}

    def _do(self, words: list[str], environment: dict[str, str]) -> str:
        if words[0] == "compose":
            done = self._compose_look(words[1:], environment)
            done = self._compose_change(words[1:], environment) if done is None else done
        else:
            done = self._look(words)
            done = self._change(words) if done is None else done
        if done is None:
            raise Refused(f"not here: docker {' '.join(words)}")
        return done

    def _look(self, words: list[str]) -> str | None:
        match words:
            case ["ps", "--all", "--quiet", *filters]:
                lines = self._listed(filters)
            case ["image", "inspect", *rest]:
                lines = [f"sha256:{self._image(rest[-1]).release}"]
            case ["inspect", "--format", form, *ids]:
                lines = [self._inspected(form, container_id) for container_id in ids]
            case ["run", "--rm", "--network", "none", "--entrypoint", "python", image, "-c", _]:
                lines = [self._image(image).release]
            case ["exec", name, "python", "-S", "-c", _]:
                run = self._image(self._container(name).image)
                lines = [run.reported_release or run.release]
            case ["logs", "--tail", _, name]:
                lines = [f"the last words of {self._container(name).service}"]
            case _:
                return None
        return "".join(f"{line}\n" for line in lines)

    def _change(self, words: list[str]) -> str | None:
        match words:
            case ["stop", *names] | ["rm", "--force", *names]:
                for name in names:
                    if words[0] == "rm" and self._container(name).state == "running/healthy/0":
                        self.killed.append(name)
                    self._remove(name)
                return ""
        return None

    def _compose_look(self, words: list[str], environment: dict[str, str]) -> str | None:
        match words:
            case ["config", "--quiet"]:
                output = ""
            case ["config", "--services"]:
                output = "".join(f"{service}\n" for service in ("secrets", "redis", *SERVICES))
            case ["config"]:
                output = self._rendered(environment)
            case ["ps", "--quiet", "proxy"]:
                output = "" if self.proxy_updates is None else "the proxy\n"
            case ["exec", "-T", "proxy", "cat", _]:
                output = f"{DOCKERS_NAMES}\n"
            case ["ps", "--quiet", service]:
                output = "".join(f"{name}\n" for name in self._of(service))
            case ["exec", "-T", "redis", "cat", _]:
                output = "users\n"
            case _:
                return None
        return output

    def _compose_change(self, words: list[str], environment: dict[str, str]) -> str | None:
        match words:
            case ["exec", "-T", "proxy", "sh", "-c", _, servers] if self.proxy_updates is not None:
                self.proxy_updates.append((servers, set(self._of("api"))))
                return ""
            case ["run", "--detach", "--no-deps", service]:
                made = self._create(service, environment)
                made.oneoff = True
                return f"{made.name}\n"
            case ["up", "--no-build", "--exit-code-from", "secrets", "secrets"]:
                self.secrets = (self.files, _image_of("worker", self.dotenv | environment))
                return ""
            case ["up", "--detach", "--no-build", "--no-recreate", "--scale", scale, service]:
                if self.secrets[0] != self.files:
                    raise Refused('service "secrets" didn\'t complete successfully')
                for _ in range(int(scale.partition("=")[2]) - len(self._of(service))):
                    self._create(service, environment)
                return ""
            case ["rm", "--stop", "--force", service]:
                for name in self._of(service):
                    self._remove(name)
                return ""
        return None

    def _rendered(self, environment: dict[str, str]) -> str:
        lines = [f"name: {_PROJECT}", "services:", "  secrets:", f"    image: {_image_of('worker', environment)}"]
        for service, part in SERVICES.items():
            lines += [f"  {service}:", "    deploy:", "      replicas: 1", f"    image: {_image_of(part, environment)}"]
            if service == "api" and self.published:
                lines += ["    ports:", "      - target: 8000", f'        published: "{self.published}"']
        return "\n".join([*lines, "networks:", "  queue:", "    internal: true", ""])

    def _listed(self, filters: list[str]) -> list[str]:
        services = [condition.rpartition("=")[2] for condition in filters if ".service=" in condition]
        kinds = {condition.endswith("=True") for condition in filters if ".oneoff=" in condition} or {False, True}
        everything = dict.fromkeys(container.service for container in self.containers.values())
        return [
            name
            for service in services or everything
            for oneoff in sorted(kinds)
            for name in self._of(service, oneoff=oneoff)
        ]

    def _of(self, service: str, *, oneoff: bool = False) -> list[str]:
        """The names of a service's containers; those of ``compose run`` apart."""
        return [
            name
            for name, container in self.containers.items()
            if (container.service, container.oneoff) == (service, oneoff)
        ]

    def _inspected(self, form: str, name: str) -> str:
        container = self._container(name)
        if form == "{{.Name}}":
            return f"/{name}"
        if form == "{{.Config.Image}}":
            return container.image
        if form == '{{index .Config.Labels "com.docker.compose.service"}}':
            return container.service
        if form == "{{.Image}}":
            return f"sha256:{self._image(container.image).release}"
        if ".NetworkSettings.Networks" in form:
            return f"{_PROJECT}_queue 10.0.0.{name.rpartition('-')[2]}\n{_PROJECT}_front {address_of(name)}\n"
        if not form.startswith("{{.State.Status}}"):
            raise Refused(f"not here: {form}")
        seen = container.state
        if seen == "running/starting/0" and container.service not in self._image(container.image).slow:
            container.state = "running/healthy/0"
        image = self.images.get(container.image)
        if seen == "running/healthy/0" and image and f"{container.service} later" in image.crashing:
            container.state = image.crashed
        return seen

    def _create(self, service: str, environment: dict[str, str]) -> Container:
        name = f"{_PROJECT}-{service}-{next(self._numbers)}"
        image = "redis:8" if service == "redis" else _image_of(SERVICES[service], self.dotenv | environment)
        made = self.containers[name] = Container(name, service, image)
        if service != "redis" and (service in self._image(image).crashing or environment.get("SAPI_LEASE") == "soon"):
            made.state = self._image(image).crashed
        return made

    def _image(self, name: str) -> Image:
        if name not in self.images:
            raise Refused(f"no such image: {name}")
        return self.images[name]

    def _container(self, name: str) -> Container:
        if name not in self.containers:
            raise Refused(f"no such container: {name}")
        return self.containers[name]

    def _remove(self, name: str) -> None:
        self._container(name)
        del self.containers[name]


def address_of(container: str) -> str:
    """A container's address where the proxy is."""
    return f"10.1.0.{container.rpartition('-')[2]}"


def _image_of(part: str, environment: dict[str, str]) -> str:
    return environment.get(f"SAPI_{part.upper()}_IMAGE") or f"storage-api/{part}:{environment['SAPI_VERSION']}"


def built(commands: Sequence[list[str]]) -> list[list[str]]:
    """The commands that build images, or may."""
    return [words for words in commands if "build" in words or ("up" in words and "--no-build" not in words)]
