"""``python -m deploy.dev.private_environment FILE COMMAND…``: runs a command with the variables of a private JSON file.

Neither the other processes' environment nor any command line shows them.
"""

from __future__ import annotations

import json
import os
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

#: Variables of the processes that send webhooks alone.
_SECRETS = ("SAPI_CALLBACK_SECRET",)


def webhook_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that only the process that sends webhooks may have."""
    names = [*_SECRETS, *_named_in(environ.get("SAPI_WEBHOOKS_FILE", ""))]
    return {name: environ[name] for name in names if name in environ}


def _named_in(path: str) -> Iterator[str]:
    """Return the variables that a file of receivers refers to; its errors are reported by the process that reads it."""
    try:
        tables: dict[str, Any] = tomllib.loads(Path(path).read_text("utf-8")) if path else {}
    except (OSError, ValueError):
        return
    for table in tables.values():
        secret = table.get("secret") if isinstance(table, dict) else None
        if isinstance(secret, dict) and isinstance(secret.get("env"), str):
            yield secret["env"]


if __name__ == "__main__":
    variables = json.loads(Path(sys.argv[1]).read_text())
    os.execvpe(sys.argv[2], sys.argv[2:], {**os.environ, **variables})  # noqa: S606 - the command is the caller's
