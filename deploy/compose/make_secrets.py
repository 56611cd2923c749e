"""Makes the secrets of a Compose stack, each once, and puts each where only those who need it can read it.

Run by the service ``secrets`` before all others: ``python make_secrets.py users.acl FOLDER``. The folder has one for
each reader (``api``, ``worker``, ``flower``, ``redis``), which are volumes. What is there already stays as it is.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import sys
from pathlib import Path

#: Redis's users whose URL a service reads, by the service's folder; ``health`` is Redis's own.
USERS = ("api", "worker", "flower")
#: Those who run with group 0 read their own folder; Redis's holds hashes, and one password that may only PING.
_PRIVATE, _PUBLIC = 0o640, 0o644


def keep(file: Path, make: str, mode: int = _PRIVATE) -> str:
    """Return what the file holds; if it is not there, it is made with ``make`` in it."""
    if not file.exists():
        new = file.with_name(file.name + ".new")
        new.write_text(make, "utf-8")
        new.chmod(mode)
        new.replace(file)  # A file that is there is there whole.
    return file.read_text("utf-8")


def _password_in(url: str) -> str:
    found = re.fullmatch(r"redis://[a-z]+:([^@]+)@.*", url)
    if not found:
        raise SystemExit(f"a redis_url of the volumes is none: {len(url)} characters")
    return found[1]


def make_all(template: Path, folder: Path) -> None:
    """Make what is missing, and Redis's list of users from all of it."""
    passwords = {}
    for user in USERS:
        url = keep(folder / user / "redis_url", f"redis://{user}:{secrets.token_hex(24)}@redis:6379/0")
        passwords[user] = _password_in(url)
    passwords["health"] = keep(folder / "redis" / "health_password", secrets.token_hex(24), _PUBLIC)
    keep(folder / "api" / "secret_key", secrets.token_hex(32))
    keep(folder / "api" / "basic_auth_password", secrets.token_urlsafe(18))
    keep(folder / "flower" / "basic_auth", f"admin:{secrets.token_urlsafe(18)}")
    users = template.read_text("utf-8")
    for user, password in passwords.items():
        users = users.replace(f"#{{{user}}}", "#" + hashlib.sha256(password.encode()).hexdigest())
    target = folder / "redis" / "users.acl"
    target.write_text(users, "utf-8")
    target.chmod(_PUBLIC)


if __name__ == "__main__":
    make_all(Path(sys.argv[1]), Path(sys.argv[2]))
