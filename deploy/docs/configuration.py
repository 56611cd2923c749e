"""``python -m deploy.docs.configuration``: documents the variables that the code reads.

The manual's page of every variable, and for Compose the list of those that each process is given.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

from pydantic import AliasChoices, SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from storage_backends.configuration.options import OPTIONS, Options
from storage_backends.configuration.secret import Secret
from worker.config.settings import Settings
from worker.flower.settings import FlowerSettings
from worker.webhooks.settings import WebhookSettings

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "configuration.md"
#: For Compose, a file for each process; by the name of the process in the page.
ENV_FILES = {
    "API": ROOT / "deploy" / "compose" / "settings" / "api.env",
    "workers": ROOT / "deploy" / "compose" / "settings" / "worker.env",
    "webhook workers": ROOT / "deploy" / "compose" / "settings" / "webhooks.env",
    "Flower": ROOT / "deploy" / "compose" / "settings" / "flower.env",
}


def _settings_below(package: str) -> Iterator[type[BaseSettings]]:
    """The classes of settings in the modules called ``settings`` of a package and those below it."""
    for path in sorted((ROOT / package).rglob("settings.py"), key=lambda path: (len(path.parts), path)):
        module = import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, BaseSettings) and value.__module__ == module.__name__:
                yield value


#: The processes that read each class of settings.
_READERS: Mapping[type[BaseSettings], Sequence[str]] = {
    Settings: ("API", "workers", "webhook workers", "Flower"),
    **dict.fromkeys(_settings_below("api"), ("API",)),
    FlowerSettings: ("Flower",),
    WebhookSettings: ("webhook workers",),
}
_TYPES = {bool: "true or false", int: "whole number", float: "number", str: "text", date: "date"}


@dataclass(frozen=True)
class Variable:
    """One line of the table."""

    name: str
    kind: str
    default: str
    readers: tuple[str, ...]
    meaning: str


#: Variables that are read before the settings.
_OTHERS = (
    Variable(
        "SAPI_BACKENDS",
        "list",
        "",
        ("API", "workers", "Flower"),
        "The storage systems: `name🌈Class🌈option🌈value…`, separated by 🦄 (see below)",
    ),
    Variable(
        "SAPI_BACKENDS_FILE",
        "path",
        "",
        ("API", "workers", "Flower"),
        "Instead of `SAPI_BACKENDS`: a TOML file with a table for each storage system (see below)",
    ),
    Variable(
        "SAPI_SECRETS_DIR",
        "path",
        "",
        ("API", "workers", "webhook workers", "Flower"),
        "A folder of files that hold secrets, and `backends.toml` or `webhooks.toml` (see above)",
    ),
    Variable(
        "SAPI_STATE_DIR",
        "path",
        ".dev/state",
        ("workers",),
        "Where a `DummyStorage` keeps its volumes, unless its option `state_dir` says otherwise",
    ),
    Variable(
        "SAPI_HEALTH_DIR",
        "path",
        "/tmp/storage-api-UID",  # noqa: S108 - text of the page
        ("workers", "webhook workers"),
        "Where a worker reports that it is at work, for `python -m worker.healthcheck` on the same host",
    ),
    Variable("SAPI_PORT", "port", "8000", ("development server",), "Where the API listens on 127.0.0.1"),
    Variable("SAPI_FLOWER_PORT", "port", "5555", ("development server",), "Where Flower listens on 127.0.0.1"),
    Variable("SAPI_API_PROCESSES", "whole number, 1 to 64", "1", ("development server",), "Processes of the API"),
    Variable("SAPI_DEV_FOLDER", "path", ".dev", ("development server",), "Where it keeps its data and logs"),
)

_HEAD = """\
# Configuration

<!-- Written by `make configuration` from the code; a test compares. Change it there. -->

Everything is set by environment variables. Each process reads those that concern it when it starts. A wrong value
stops the start with one line that says which variable it is and what it may be; an empty one counts as not set.

A **secret** may also stand in a file: `SAPI_REDIS_URL_FILE=/run/secrets/redis_url` is read in the place of
`SAPI_REDIS_URL`, without white space around it. To set both is an error. `SAPI_SECRETS_DIR` names a folder of
secrets: where neither variable is set, the file `redis_url` in it is read; files are named like the variable, in lower
case without `SAPI_`. (`SAPI_BACKENDS_FILE` is something else: see [storage systems](#storage-systems).) Times are in
seconds where nothing else is said.

## Variables

"""
_BACKENDS = """
## Storage systems

Either `SAPI_BACKENDS`, as the predecessor had it, with 🌈 between the parts of one storage system and 🦄 between
storage systems:

```text
SAPI_BACKENDS=dummy🌈DummyStorage🦄netapp🌈NetappStorage🌈username🌈storage-api🌈password🌈myPassword:@;🌈vserver🌈vs3sx50
```

or `SAPI_BACKENDS_FILE`, the path of a TOML file with a table for each. There a value may also stand in a file of its
own (a path is relative to the TOML file's folder), or in another variable:

```toml
[netapp]
driver = "NetappStorage"
username = "storage-api"
password = { file = "/run/secrets/netapp-password" }
vserver = { env = "NETAPP_VSERVER" }
verify = "/etc/ssl/our-authority.pem"
```

The name of a storage system is the first part of its URLs, `/v4/netapp/volumes`; it has 1 to 63 letters, digits, `_`
and `-`. Only workers need the options. The API and Flower read the same variables and look at the names alone: give
them `netapp🌈NetappStorage`, and no password. Where neither variable is set, it is the file `backends.toml` in
`SAPI_SECRETS_DIR`.
"""


def page() -> str:
    """Return the whole page."""
    sections = [_HEAD, *_table([*_merged(), *_OTHERS]), _BACKENDS]
    for driver, options in OPTIONS.items():
        sections += [f"\n### Options of {driver}\n\n", *_options(options)]
    return "".join(sections)


def env_file(process: str) -> str:
    """Return the ``env_file`` of Compose for a process: every variable that it reads, without a value.

    Compose gives such a variable the value that it has in ``.env`` or in the shell; without one it is left out.
    """
    variables = [variable for variable in (*_merged(), *_OTHERS) if process in variable.readers]
    names = [name for variable in variables for name in (variable.name, *_file_names(variable))]
    names += dict.fromkeys(
        old for settings, readers in _READERS.items() if process in readers for old in _old(settings)
    )
    head = f"# Written by `make configuration`: what {process} may be given by .env or the shell."
    return "\n".join([head, *names, ""])


def _old(settings: type[BaseSettings]) -> Iterable[str]:
    """The predecessor's names of variables; without FLASK_DEBUG, which a developer's shell may have for other work."""
    old: Mapping[str, str] = getattr(settings, "predecessor_names", {})
    return old.values()


def _file_names(variable: Variable) -> list[str]:
    return [f"{variable.name}_FILE"] if variable.kind.startswith("secret") else []


def _merged() -> list[Variable]:
    """Return each variable once, with all processes that read it."""
    merged: dict[str, Variable] = {}
    for settings, readers in _READERS.items():
        for variable in _variables(settings, readers):
            earlier = merged.get(variable.name, variable)
            every = tuple(dict.fromkeys((*earlier.readers, *variable.readers)))
            merged[variable.name] = Variable(earlier.name, earlier.kind, earlier.default, every, earlier.meaning)
    return list(merged.values())


def _variables(settings: type[BaseSettings], readers: Sequence[str]) -> Iterator[Variable]:
    prefix = settings.model_config.get("env_prefix", "")
    for name, field in settings.model_fields.items():
        first, *others = _names(f"{prefix}{name}".upper(), field)
        meaning = (field.description or "") + "".join(f" (also as `{other}`)" for other in others)
        yield Variable(first, _kind(field), _default(field.default), tuple(readers), meaning)


def _names(name: str, field: FieldInfo) -> list[str]:
    alias = field.validation_alias
    return [str(choice) for choice in alias.choices] if isinstance(alias, AliasChoices) else [name]


def _kind(field: FieldInfo) -> str:
    annotation: Any = field.annotation
    types = (annotation, *getattr(annotation, "__args__", ()))
    if SecretStr in types:
        return "secrets, comma-separated" if getattr(annotation, "__origin__", None) is tuple else "secret"
    if getattr(annotation, "__origin__", None) is tuple:
        return "comma-separated list"
    # The type of an optional value is that of the value.
    kinds = [kind for kind in getattr(annotation, "__args__", (annotation,)) if kind is not type(None)]
    return _TYPES[kinds[0]] + _limits(field)


def _limits(field: FieldInfo) -> str:
    limits: dict[str, Any] = {}
    for part in field.metadata:
        limits |= {
            name: getattr(part, name) for name in ("ge", "le", "pattern") if getattr(part, name, None) is not None
        }
    if "pattern" in limits:
        return f", `{limits['pattern']}`".replace("|", "\\|")
    if {"ge", "le"} <= limits.keys():
        return f", {limits['ge']} to {limits['le']}"
    return f", at least {limits['ge']}" if "ge" in limits else ""


def _default(value: Any) -> str:
    match value:
        case SecretStr():
            return value.get_secret_value()
        case bool():
            return str(value).lower()
        case tuple():
            return ",".join(map(str, value))
        case None:
            return ""
    return str(value)


def _table(variables: Sequence[Variable]) -> Iterator[str]:
    yield "| Variable | Type | Default | Read by | Meaning |\n|---|---|---|---|---|\n"
    for variable in variables:
        default = f"`{variable.default}`" if variable.default else "none"
        readers = ", ".join(variable.readers)
        yield f"| `{variable.name}` | {variable.kind} | {default} | {readers} | {variable.meaning} |\n"


def _options(options: type[Options]) -> Iterator[str]:
    yield "| Option | Type | Default | Meaning |\n|---|---|---|---|\n"
    for name, field in options.model_fields.items():
        default = f"`{field.default}`" if field.default != "" else "none"
        if field.is_required():
            default = "must be given"
        meaning = (field.description or "").replace("``", "`")
        yield f"| `{name}` | {_option_kind(field)} | {default} | {meaning} |\n"


def _option_kind(field: FieldInfo) -> str:
    annotation: Any = field.annotation
    if annotation is Secret:
        return "secret"
    kinds = [kind if isinstance(kind, str) else kind.__name__ for kind in get_args(annotation) or (annotation,)]
    return " or ".join(kinds)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    for name, path in ENV_FILES.items():
        path.write_text(env_file(name), encoding="utf-8")
