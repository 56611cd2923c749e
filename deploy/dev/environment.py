"""The environments of the development server's processes: settings for all, credentials for workers only."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from deploy.dev.embedded_redis import is_free
from deploy.dev.state import DEV_DIR, ROOT, DevServerError
from deploy.dev.supervision import MARK
from storage_backends.configuration.subsystems import Subsystems

#: The second one is slow, so that jobs can be seen waiting, running, and being cancelled.
DEFAULT_BACKENDS = "dummy🌈DummyStorage🦄slow🌈DummyStorage🌈latency_s🌈3🌈list_latency_s🌈8"
#: The file with the back-ends and their credentials, for workers only.
BACKENDS_FILE = DEV_DIR / "backends.toml"
_MOST_PROCESSES = 64
_MAKES_OWN = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKE_TERMOUT", "MAKE_TERMERR", "MAKEOVERRIDES")


@dataclass(frozen=True)
class Ports:
    """Where the service is reached on 127.0.0.1, and by how many processes."""

    api: int
    flower: int
    api_processes: int = 1
    #: For probes and metrics, if they have a port of their own (`SAPI_ADMIN_PORT`).
    admin: int = 0

    @classmethod
    def chosen(cls, environ: Mapping[str, str]) -> Ports:
        """Return the ports and processes from the environment.

        Raises:
            DevServerError: a value is wrong, or two ports are the same.
        """
        processes = environ.get("SAPI_API_PROCESSES") or "1"
        if not (processes.isascii() and processes.isdigit() and 0 < int(processes) <= _MOST_PROCESSES):
            raise DevServerError(f"SAPI_API_PROCESSES must be a number from 1 to {_MOST_PROCESSES}, not {processes!r}")
        admin = _port(environ, "SAPI_ADMIN_PORT", 0) if (environ.get("SAPI_ADMIN_PORT") or "0") != "0" else 0
        ports = cls(_port(environ, "SAPI_PORT", 8000), _port(environ, "SAPI_FLOWER_PORT", 5555), int(processes), admin)
        by_port: dict[int, str] = {}
        for variable, port in ports.by_variable.items():
            if port in by_port:
                raise DevServerError(f"{by_port[port]} and {variable} are both {port}: give them different ports")
            by_port[port] = variable
        return ports

    @property
    def by_variable(self) -> dict[str, int]:
        """Every port that is listened on, by the variable that names it."""
        ports = {"SAPI_PORT": self.api, "SAPI_FLOWER_PORT": self.flower}
        return ports | ({"SAPI_ADMIN_PORT": self.admin} if self.admin else {})

    def check_free(self) -> None:
        """Check that the ports are free.

        Raises:
            DevServerError: a port is taken.
        """
        for variable, port in self.by_variable.items():
            if not is_free(port):
                raise DevServerError(
                    f"port {port} of 127.0.0.1 is taken: choose another one, as in {variable}={port + 1}"
                )


def _port(environ: Mapping[str, str], variable: str, default: int) -> int:
    value = environ.get(variable) or str(default)
    if not (value.isascii() and value.isdigit() and 0 < int(value) < 65536):  # noqa: PLR2004 - the last port
        raise DevServerError(f"{variable} must be a port number from 1 to 65535, not {value!r}")
    return int(value)


class Environment(Mapping[str, str]):
    """The given environment, which records the names that are looked up."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = dict(environ)
        if "SAPI_BACKENDS" not in environ and "SAPI_BACKENDS_FILE" not in environ:
            self._environ["SAPI_BACKENDS"] = DEFAULT_BACKENDS
        self.looked_up: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.looked_up.add(name)
        return self._environ[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._environ)

    def __len__(self) -> int:
        return len(self._environ)


@dataclass(frozen=True)
class Backends:
    """The storage systems, and the variables that contain parts of their configuration: for workers only."""

    subsystems: Subsystems
    hidden: frozenset[str]

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Backends:
        """Read and check them.

        Raises:
            ConfigurationError: one line that says what to mend.
        """
        environment = Environment(environ)
        subsystems = Subsystems.from_environment(environment)
        return cls(subsystems, frozenset(environment.looked_up))

    @property
    def without_options(self) -> str:
        """Names and classes, as ``SAPI_BACKENDS`` for processes that need only these."""
        return "🦄".join(f"{subsystem.name}🌈{subsystem.driver}" for subsystem in self.subsystems.values())


def service_environment(
    environ: Mapping[str, str], backends: Backends, redis_url: str, secret_key: str, flower_url: str
) -> dict[str, str]:
    """Return the environment of all processes: ``environ`` without back-ends' options and secrets, and defaults."""
    hidden = {"SAPI_BACKENDS", "SAPI_BACKENDS_FILE", *_MAKES_OWN, *backends.hidden}
    variables = {name: value for name, value in environ.items() if name not in hidden}
    variables.setdefault("SAPI_DEBUG", variables.get("FLASK_DEBUG", "true"))
    variables.setdefault("SAPI_HEALTH_DIR", str(DEV_DIR / "health"))
    variables.setdefault("SAPI_STATE_DIR", str(DEV_DIR / "state"))
    variables.setdefault("SAPI_SECRET_KEY", secret_key)
    variables.setdefault("SAPI_FLOWER_URL", flower_url)
    # Otherwise hundreds of threads have a malloc arena each, which is rarely freed.
    variables.setdefault("MALLOC_ARENA_MAX", "2")
    variables.setdefault("SAPI_AUDIT_LOG", str(DEV_DIR / "logs" / "audit.log"))
    path = [str(ROOT), *filter(None, [variables.get("PYTHONPATH")])]
    return variables | {
        "SAPI_BACKENDS": backends.without_options,
        "SAPI_REDIS_URL": redis_url,
        # Flower is accessible from this machine only, and read-only (see --read-only).
        "FLOWER_UNAUTHENTICATED_API": "true",
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONUNBUFFERED": "1",
        "PYTHONUTF8": "1",
        MARK: str(DEV_DIR),
    }
