"""The state of the development server that is kept between starts, in the ignored folder ``.dev``."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import tempfile
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
#: Tests use another folder for a server of their own.
DEV_DIR = Path(os.environ.get("SAPI_DEV_FOLDER") or ROOT / ".dev").absolute()
LOGS = DEV_DIR / "logs"
#: The longest path of a Unix socket is 107 bytes; supervisord needs some of them for a temporary name.
_LONGEST_SOCKET_PATH = 92


class DevServerError(Exception):
    """The command failed; the message is one line that says what to do."""


@dataclass
class State:
    """Ports and secrets that must stay the same while the data does."""

    redis_port: int
    redis_password: str
    secret_key: str
    #: supervisord's socket.
    socket: str

    @classmethod
    def load(cls) -> State:
        """Return the stored state, or a new one if there is none that can be read."""
        try:
            return cls(**json.loads((DEV_DIR / "state.json").read_text()))
        except (OSError, ValueError, TypeError):
            return cls(0, secrets.token_urlsafe(24), secrets.token_urlsafe(32), "")

    def save(self) -> None:
        """Store it."""
        write_private(DEV_DIR / "state.json", json.dumps(asdict(self), indent=1) + "\n")

    def settle_socket(self) -> None:
        """Choose a socket path that is short enough, and create its folder with private access."""
        if self.socket and Path(self.socket).parent.is_dir():
            return
        path = DEV_DIR / "supervisor.sock"
        if len(os.fsencode(path)) > _LONGEST_SOCKET_PATH:
            path = Path(tempfile.mkdtemp(prefix="storage-api-")) / "supervisor.sock"
        self.socket = str(path)


def prepare_home() -> None:
    """Create the folder and its subfolders, accessible by the owner only."""
    for folder in (DEV_DIR, LOGS, DEV_DIR / "redis", DEV_DIR / "state"):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def write_private(path: Path, text: str) -> None:
    """Write a private file atomically."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    draft.replace(path)


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Prevent a second start or stop at the same time.

    Raises:
        DevServerError: another one is running.
    """
    prepare_home()
    with (DEV_DIR / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DevServerError("another start or stop is under way here; wait until it is done") from None
        yield
