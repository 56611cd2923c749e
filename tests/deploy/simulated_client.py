"""A Docker client of a simulated engine.

``docker`` in the folder is a small program that passes on its arguments, and what a proxy is to read.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from tests.deploy.simulated_engine import Engine

#: Costs a shell, not a Python: the script asks a hundred times.
_CLIENT = """#!/bin/sh
reply='{folder}'/reply.$$
mkfifo "$reply"
case "$*" in *' exec -T proxy sh '*) set -- "$@" "$(cat)" ;; esac
printf '%s\\0' $$ $# "$@" {variables} >'{folder}'/requests
exec <"$reply"
read -r code
if [ "$code" = 0 ]; then cat; else cat >&2; fi
rm "$reply"
exit "$code"
"""
#: The variables that Compose gets from the shell.
_VARIABLES = ("SAPI_VERSION", "SAPI_API_IMAGE", "SAPI_WORKER_IMAGE", "SAPI_LEASE")


def _serve(engine: Engine, folder: Path, requests: int) -> None:
    """Answer one request after the other, until the last one."""
    with os.fdopen(requests, "rb") as stream:
        words = _words(stream)
        for process in words:
            if process == "over":
                return
            command = [next(words) for _ in range(int(next(words)))]
            variables = dict(zip(_VARIABLES, (next(words) for _ in _VARIABLES), strict=True))
            code, text = engine.answer(command, {name: value for name, value in variables.items() if value})
            (folder / f"reply.{process}").write_text(f"{code}\n{text}", "utf-8")


def _words(stream: BinaryIO) -> Iterator[str]:
    rest = b""
    while True:
        *whole, rest = (rest + os.read(stream.fileno(), 65536)).split(b"\0")
        yield from (word.decode() for word in whole)


@contextmanager
def client_of(engine: Engine, folder: Path) -> Iterator[dict[str, str]]:
    """The environment in which ``docker`` is the client of this engine."""
    client = folder / "docker"
    variables = " ".join(f'"${{{name}-}}"' for name in _VARIABLES)
    client.write_text(_CLIENT.format(folder=folder, variables=variables), "utf-8")
    client.chmod(0o755)
    os.mkfifo(folder / "requests")
    # Open for writing too, so that it does not end with a client.
    requests = os.open(folder / "requests", os.O_RDWR)
    server = threading.Thread(target=_serve, args=(engine, folder, os.dup(requests)))
    server.start()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SAPI_")}
    try:
        yield kept | {"PATH": f"{folder}:{os.environ['PATH']}", "ROLL_OUT_WATCH_S": "0"}
    finally:
        os.write(requests, b"over\0")
        server.join()
        os.close(requests)
