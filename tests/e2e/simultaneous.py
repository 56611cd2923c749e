"""Many clients at the same moment, each on a socket of its own: all are connected before the first request."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

_CONNECT_AT_A_TIME = 100


@dataclass(frozen=True)
class Got:
    """One answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def job(self) -> str:
        """The job that it names; empty when it names none."""
        return self.headers.get("operation-location", "").rpartition("/")[2]

    def json(self) -> Any:
        """What the body says."""
        return json.loads(self.body)


class Caller:
    """One client with its connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, authorization: str) -> None:
        self._reader = reader
        self._writer = writer
        self._authorization = authorization

    async def get(self, path: str, **headers: str) -> Got:
        """Ask, and return the answer; on a new connection where the server has closed one that was idle for long."""
        if self._reader.at_eof():
            host, port = self._writer.get_extra_info("peername")
            self._writer.close()
            self._reader, self._writer = await asyncio.open_connection(host, port)
        lines = [f"GET {path} HTTP/1.1", "Host: localhost", f"Authorization: Basic {self._authorization}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items() if value]
        self._writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        await self._writer.drain()
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers_received = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:-2])}
        body = await self._reader.readexactly(int(headers_received.get("content-length", "0")))
        return Got(int(head[0].split()[1]), headers_received, body)

    async def final(self, path: str, wait: str) -> list[Got]:
        """All answers on the way to the final one: of the job that was named, for as often as that takes."""
        answers = [await self.get(path, Prefer=wait)]
        while answers[-1].status == HTTPStatus.ACCEPTED:
            job = answers[-1].job
            await self._end(job, answers)
            answers.append(await self.get(f"/v4/jobs/{job}/result"))
            if answers[-1].status == HTTPStatus.INTERNAL_SERVER_ERROR and answers[-1].json()["retryable"]:
                answers.append(await self.get(path, Prefer=wait))
        return answers

    async def _end(self, job: str, answers: list[Got]) -> None:
        """Wait for the end of a job; when the service cannot hold the request open, as it says when to come again."""
        while True:
            answer = await self.get(f"/v4/jobs/{job}", Prefer="wait=20")
            answers.append(answer)
            if answer.status != HTTPStatus.OK or answer.json()["done"]:
                return
            await asyncio.sleep(int(answer.headers["retry-after"]))

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()


async def connected(url: str, user: str, password: str, count: int) -> list[Caller]:
    """So many clients, all of them connected."""
    host, _, port = url.rpartition("/")[2].partition(":")
    authorization = base64.b64encode(f"{user}:{password}".encode()).decode()
    callers: list[Caller] = []
    while len(callers) < count:
        some = min(_CONNECT_AT_A_TIME, count - len(callers))
        opened = await asyncio.gather(*(asyncio.open_connection(host, int(port)) for _ in range(some)))
        callers += [Caller(reader, writer, authorization) for reader, writer in opened]
    return callers


async def ask_all(callers: Sequence[Caller], path: str, waits: Sequence[str]) -> list[list[Got]]:
    """Ask all at once, by ``waits`` in turn; of each all answers."""
    pending = (caller.final(path, waits[number % len(waits)]) for number, caller in enumerate(callers))
    try:
        return await asyncio.gather(*pending)
    finally:
        for caller in callers:
            caller.close()
