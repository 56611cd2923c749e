"""Gives each process of a Compose stack its secrets, where only those who need them can read them.

Run by the service ``secrets`` before all others: ``python make_secrets.py users.acl FOLDER GIVEN``. FOLDER has a
folder for each reader (``api``, ``worker``, ``webhooks``, ``flower``, ``redis``), which are volumes. GIVEN has the same
folders with files that the operator has put there: they are copied. What is missing is made, once. ``SAPI_SECRETS_DIR``
names the reader's folder in its own process.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from storage_backends.configuration.subsystems import ConfigurationError, Subsystems

#: Who reads secrets, each from a folder of its own.
READERS = ("api", "worker", "webhooks", "flower")
#: Redis's users, by the file with their URL; ``health`` is Redis's own.
USERS = {
    "api": "api/redis_url",
    "worker": "worker/redis_url",
    "webhooks": "webhooks/redis_url",
    "flower": "flower/redis_url",
    "flower-events": "flower/broker_url",
}
#: Those who run with group 0 read their own folder; Redis's holds hashes, and one password that may only PING.
_PRIVATE, _PUBLIC = 0o640, 0o644
#: The start of every key in the list of Redis's users, and where SAPI_KEY_PREFIX is not set.
_PREFIX = "sapi:"
#: In each folder: the names of what was copied into it, so that it goes when the operator takes it away.
_COPIED = ".copied"
_BACKENDS = "backends.toml"
_DEFAULT_BACKENDS = '[dummy]\ndriver = "DummyStorage"\n'
#: What the front end knows where SAPI_NAMES is not set.
_DEFAULT_NAMES = {"dummy": "DummyStorage"}


def write(file: Path, text: str, mode: int = _PRIVATE) -> None:
    """Write a file that is there whole, or not at all."""
    new = file.with_name(f".{file.name}.new")
    new.write_text(text, "utf-8")
    new.chmod(mode)
    new.replace(file)


def keep(file: Path, make: str, mode: int = _PRIVATE) -> str:
    """Return what the file holds; if it is not there, it is made with ``make`` in it."""
    if not file.exists():
        write(file, make, mode)
    return file.read_text("utf-8")


def copy_given(given: Path, folder: Path) -> None:
    """Copy the operator's files of one reader, and remove those that were copied before and are no longer given."""
    files = {path.name: path for path in given.glob("[!.]*") if path.is_file()}
    listed = folder / _COPIED
    before = listed.read_text("utf-8").split("\n") if listed.exists() else []
    for name in set(before) - files.keys() - {""}:
        (folder / name).unlink(missing_ok=True)
    for name, path in files.items():
        new = folder / f".{name}.new"
        shutil.copyfile(path, new)
        new.chmod(_PRIVATE)
        new.replace(folder / name)
    write(listed, "\n".join(sorted(files)))


def make_backends(folder: Path, environ: Mapping[str, str]) -> None:
    """Write the workers' storage systems where none are given, and for the others their names.

    Raises:
        ConfigurationError: one line that says what to mend.
    """
    if not (folder / "worker" / _BACKENDS).exists():
        write(folder / "worker" / _BACKENDS, _DEFAULT_BACKENDS)
    seen = {"SAPI_SECRETS_DIR": str(folder / "worker"), "SAPI_BACKENDS": environ.get("SAPI_BACKENDS", "")}
    if environ.get("SAPI_BACKENDS_FILE"):
        seen["SAPI_BACKENDS_FILE"] = str(folder / "worker" / Path(environ["SAPI_BACKENDS_FILE"]).name)
    drivers = Subsystems.drivers_from_environment(seen)
    _check_names(drivers, environ)
    names = "".join(f'[{name}]\ndriver = "{driver}"\n' for name, driver in drivers.items())
    for reader in ("api", "flower"):
        write(folder / reader / _BACKENDS, names)


def _check_names(drivers: Mapping[str, str], environ: Mapping[str, str]) -> None:
    """Compose starts the front end anew only when something changes in its settings: these must have the names."""
    names = environ.get("SAPI_NAMES", "")
    if not names and not (environ.get("SAPI_BACKENDS") and drivers != _DEFAULT_NAMES):
        return
    if not names or Subsystems.drivers_from_environment({"SAPI_BACKENDS": names}) != drivers:
        line = "🦄".join(f"{name}🌈{driver}" for name, driver in drivers.items())
        raise ConfigurationError(f"the front end must know the same storage systems: put SAPI_NAMES={line} into .env")


def _password_in(url: str) -> str:
    """The password of a URL that was made here; what stands for it where the URL is another Redis's."""
    match = re.fullmatch(r"redis://[a-z-]+:([^@]+)@redis:6379/0", url.strip())
    return match[1] if match else hashlib.sha256(url.encode()).hexdigest()


def _prefix(environ: Mapping[str, str]) -> str:
    """The start of every key in Redis: its users may reach no others.

    Raises:
        ConfigurationError: it is none.
    """
    prefix = environ.get("SAPI_KEY_PREFIX") or _PREFIX
    if not re.fullmatch(r"[a-z0-9:_-]{1,32}", prefix):
        raise ConfigurationError("SAPI_KEY_PREFIX must be 1 to 32 of the characters a-z, 0-9, ':', '_' and '-'")
    return prefix


def make_all(template: Path, folder: Path, prefix: str = _PREFIX) -> None:
    """Make what is missing, and Redis's list of users from all of it; ``prefix``: the start of every key."""
    passwords = {}
    for user, file in USERS.items():
        url = keep(folder / file, f"redis://{user}:{secrets.token_hex(24)}@redis:6379/0")
        passwords[user] = _password_in(url)
    passwords["health"] = keep(folder / "redis" / "health_password", secrets.token_hex(24), _PUBLIC)
    keep(folder / "api" / "secret_key", secrets.token_hex(32))
    keep(folder / "flower" / "secret_key", secrets.token_hex(32))
    keep(folder / "api" / "basic_auth_password", secrets.token_urlsafe(18))
    keep(folder / "flower" / "basic_auth_password", secrets.token_urlsafe(18))
    users = re.sub(f"(?<=[~&]){_PREFIX}", prefix, template.read_text("utf-8"))
    for user, password in passwords.items():
        users = users.replace(f"#{{{user}}}", "#" + hashlib.sha256(password.encode()).hexdigest())
    write(folder / "redis" / "users.acl", users, _PUBLIC)


def main(template: Path, folder: Path, given: Path) -> int:
    """Do all of it; 0 when it worked."""
    for reader in READERS:
        copy_given(given / reader, folder / reader)
    try:
        make_backends(folder, os.environ)
        prefix = _prefix(os.environ)
    except ConfigurationError as error:
        print(f"secrets: {error}", file=sys.stderr)
        return 2
    make_all(template, folder, prefix)
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
