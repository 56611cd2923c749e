"""One state of a listing, as bytes that go out as they are: JSON in chunks, each compressed once.

Chunks are raw deflate streams that end on a byte, so that a gzip body is made by laying them one after another (RFC
1951,
1952); a change rewrites one chunk. A listing never changes: ``with_changes`` returns another that shares what stayed.
"""

from __future__ import annotations

import bisect
import hashlib
import struct
import zlib
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any, NamedTuple

import orjson

Record = dict[str, Any]

_CHUNK_RECORDS = 256
_LEVEL = 3
_GZIP_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_DEFLATE_END = b"\x03\x00"


class Change(NamedTuple):
    """A record that was put, or dropped (None)."""

    key: str
    record: bytes | None


def _deflate(text: bytes) -> bytes:
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, -15)
    return packer.compress(text) + packer.flush(zlib.Z_SYNC_FLUSH)


_OPEN, _COMMA, _CLOSE = (_deflate(mark) for mark in (b"[", b",", b"]"))


class Chunk:
    """A run of records; each form is made from another when it is first needed."""

    def __init__(self, *, records: list[Record] | None = None, deflated: bytes | None = None) -> None:
        if records is not None:
            self.records = records
        if deflated is not None:
            self.deflated = deflated

    @cached_property
    def records(self) -> list[Record]:
        found: list[Record] = orjson.loads(b"[" + self.text + b"]")
        return found

    @cached_property
    def text(self) -> bytes:
        """The records as JSON, with commas between."""
        if "deflated" in self.__dict__:
            return zlib.decompressobj(-15).decompress(self.deflated)
        return orjson.dumps(self.records)[1:-1]

    @cached_property
    def deflated(self) -> bytes:
        return _deflate(self.text)


class Listing:
    """The records of a listing in order, as objects, as JSON and as gzip."""

    def __init__(self, key_field: str, chunks: list[Chunk], *, ordered: bool, summary: Record | None = None) -> None:
        self._key_field = key_field
        self._chunks = chunks
        self._ordered = ordered
        if summary is not None:
            self.count, self.size_bytes, self._crc, self.hash = (summary[n] for n in ("count", "bytes", "crc", "hash"))

    @classmethod
    def of(cls, key_field: str, records: list[Record], *, ordered: bool) -> Listing:
        """Make a listing of plain records."""
        if ordered:
            records = sorted(records, key=lambda record: str(record[key_field]))
        runs = (records[i : i + _CHUNK_RECORDS] for i in range(0, len(records), _CHUNK_RECORDS))
        return cls(key_field, [Chunk(records=run) for run in runs], ordered=ordered)

    @classmethod
    def unpack(cls, blob: bytes) -> Listing:
        """Read what ``pack`` wrote; nothing is decompressed yet."""
        head, _, body = blob.partition(b"\n")
        summary = orjson.loads(head)
        chunks, start = [], 0
        for size in summary["chunks"]:
            chunks.append(Chunk(deflated=body[start : start + size]))
            start += size
        return cls(summary["key_field"], chunks, ordered=summary["ordered"], summary=summary)

    def pack(self) -> bytes:
        """The listing as one value for Redis: a line of JSON about it, then the compressed chunks."""
        summary = {
            "key_field": self._key_field,
            "ordered": self._ordered,
            "count": self.count,
            "bytes": self.size_bytes,
            "crc": self._crc,
            "hash": self.hash,
            "chunks": [len(chunk.deflated) for chunk in self._chunks],
        }
        return orjson.dumps(summary) + b"\n" + b"".join(chunk.deflated for chunk in self._chunks)

    @cached_property
    def count(self) -> int:
        return sum(len(chunk.records) for chunk in self._chunks)

    @cached_property
    def size_bytes(self) -> int:
        """The length of the JSON."""
        return sum(len(chunk.text) + 1 for chunk in self._chunks) + (1 if self._chunks else 2)

    @cached_property
    def hash(self) -> str:
        """A digest of the contents: equal for equal listings, whenever they were made."""
        digest = hashlib.sha256()
        for chunk in self._chunks:
            digest.update(chunk.text + b",")
        return digest.hexdigest()[:20]

    @cached_property
    def _crc(self) -> int:
        crc = zlib.crc32(b"[")
        for number, chunk in enumerate(self._chunks):
            crc = zlib.crc32(chunk.text, zlib.crc32(b",", crc) if number else crc)
        return zlib.crc32(b"]", crc)

    @cached_property
    def body(self) -> bytes:
        """The listing as a JSON array."""
        return b"[" + b",".join(chunk.text for chunk in self._chunks) + b"]"

    @cached_property
    def gzip(self) -> bytes:
        """The same array, compressed."""
        tail = struct.pack("<LL", self._crc, self.size_bytes & 0xFFFFFFFF)
        middle = _COMMA.join(chunk.deflated for chunk in self._chunks)
        return _GZIP_HEAD + _OPEN + middle + _CLOSE + _DEFLATE_END + tail

    @cached_property
    def records(self) -> list[Record]:
        """Every record as an object; do not change them."""
        return [record for chunk in self._chunks for record in chunk.records]

    @cached_property
    def _by_key(self) -> dict[str, Record]:
        return {str(record[self._key_field]): record for record in self.records}

    def find(self, key: str) -> Record | None:
        """The record of this key."""
        return self._by_key.get(key)

    def with_changes(self, changes: Iterable[Change]) -> Listing:
        """The listing after the changes, in their order."""
        chunks = list(self._chunks)
        for change in changes:
            self._apply(chunks, change)
        return Listing(self._key_field, [chunk for chunk in chunks if chunk.records], ordered=self._ordered)

    def _apply(self, chunks: list[Chunk], change: Change) -> None:
        record = None if change.record is None else orjson.loads(change.record)
        for number in self._where(chunks, change.key):
            old = chunks[number].records
            at = next((i for i, known in enumerate(old) if known[self._key_field] == change.key), None)
            if at is not None:
                chunks[number] = Chunk(records=old[:at] + ([] if record is None else [record]) + old[at + 1 :])
                return
        if record is not None:
            self._insert(chunks, change.key, record)

    def _insert(self, chunks: list[Chunk], key: str, record: Record) -> None:
        if not chunks:
            chunks.append(Chunk(records=[record]))
            return
        number = next(self._where(chunks, key)) if self._ordered else len(chunks) - 1
        old = chunks[number].records
        at = bisect.bisect(old, key, key=self._key) if self._ordered else len(old)
        new = [*old[:at], record, *old[at:]]
        half = len(new) if len(new) <= 2 * _CHUNK_RECORDS else len(new) // 2
        chunks[number : number + 1] = [Chunk(records=part) for part in (new[:half], new[half:]) if part]

    def _where(self, chunks: list[Chunk], key: str) -> Iterator[int]:
        """The chunks in which the key may stand."""
        if not self._ordered:
            yield from range(len(chunks))
        elif chunks:
            yield max(0, bisect.bisect(chunks, key, key=lambda chunk: self._key(chunk.records[0])) - 1)

    def _key(self, record: Record) -> str:
        return str(record[self._key_field])
