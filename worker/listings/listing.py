"""One state of a listing, as the bytes of responses: JSON in chunks, each compressed once.

Chunks are raw deflate streams that end at a byte boundary, so that a gzip body is made by concatenating them (RFC
1951, 1952); a change rewrites one chunk. A listing is immutable: ``with_changes`` returns another that shares the
chunks that are unchanged.
"""

from __future__ import annotations

import bisect
import hashlib
import struct
import zlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple

import orjson

from worker.listings.crc32_combine import combine

Record = dict[str, Any]

_CHUNK_RECORDS = 256
_LEVEL = 3
_GZIP_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_DEFLATE_END = b"\x03\x00"
#: The memory of parsed records, as a multiple of the length of their JSON.
_PARSED_FACTOR = 3
_MOST_IN_ARRAY = 2**63


class Change(NamedTuple):
    """A record that was added or replaced, or deleted (None)."""

    key: str
    record: bytes | None


def _deflate(text: bytes) -> bytes:
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, -15)
    return packer.compress(text) + packer.flush(zlib.Z_SYNC_FLUSH)


_OPEN, _COMMA, _CLOSE = (_deflate(mark) for mark in (b"[", b",", b"]"))


@dataclass(frozen=True, slots=True)
class Packed:
    """A chunk's JSON, compressed, with its count, size and checksum."""

    deflated: bytes
    count: int
    size_bytes: int
    crc: int


class Chunk:
    """A sequence of records, separated by commas; each form is made from another on first use."""

    def __init__(self, *, records: list[Record] | None = None, packed: Packed | None = None) -> None:
        if records is not None:
            self.records = records
        if packed is not None:
            self.packed = packed
        self._folded: dict[str, dict[str, Record]] = {}

    @cached_property
    def records(self) -> list[Record]:
        records: list[Record] = orjson.loads(b"[" + self.text + b"]")
        return records

    @cached_property
    def packed(self) -> Packed:
        text = self.text
        return Packed(_deflate(text), len(self.records), len(text), zlib.crc32(text))

    @property
    def text(self) -> bytes:
        """The records as JSON; not cached, since decompressing is cheap."""
        if "packed" in self.__dict__:
            return zlib.decompressobj(-15).decompress(self.packed.deflated)
        return orjson.dumps(self.records)[1:-1]

    @property
    def memory_bytes(self) -> int:
        """The approximate memory that the chunk takes now."""
        parsed = self.packed.size_bytes * _PARSED_FACTOR if "records" in self.__dict__ else 0
        return len(self.packed.deflated) + parsed

    def by_casefolded(self, field: str) -> dict[str, Record]:
        """The records by a text field in lower case."""
        if field not in self._folded:
            by_value = {str(record[field]).lower(): record for record in self.records if record.get(field) is not None}
            self._folded[field] = by_value
        return self._folded[field]


class Listing:
    """The records of a listing in order, as objects, as JSON and as gzip."""

    def __init__(self, key_field: str, chunks: list[Chunk], *, ordered: bool, digest: str = "") -> None:
        self._key_field = key_field
        self._chunks = chunks
        self._ordered = ordered
        self._columns: dict[str, Sequence[Any]] = {}
        if digest:
            self.hash = digest

    @classmethod
    def of(cls, key_field: str, records: list[Record], *, ordered: bool) -> Listing:
        """Make a listing from records."""
        if ordered:
            records = sorted(records, key=lambda record: str(record[key_field]))
        runs = (records[i : i + _CHUNK_RECORDS] for i in range(0, len(records), _CHUNK_RECORDS))
        return cls(key_field, [Chunk(records=run) for run in runs], ordered=ordered)

    @classmethod
    def unpack(cls, blob: bytes, like: Listing | None = None) -> Listing:
        """Read what ``pack`` wrote; nothing is decompressed yet. Chunks that are as in ``like`` are shared with it."""
        head, _, body = blob.partition(b"\n")
        summary = orjson.loads(head)
        shared = {chunk.packed: chunk for chunk in (like._chunks if like else ())}  # noqa: SLF001 - another of us
        chunks, start = [], 0
        for length, *about in summary["chunks"]:
            packed = Packed(body[start : start + length], *about)
            chunks.append(shared.get(packed) or Chunk(packed=packed))
            start += length
        return cls(summary["key_field"], chunks, ordered=summary["ordered"], digest=summary["hash"])

    def pack(self) -> bytes:
        """The listing as one value for Redis: a line of JSON about it, then the compressed chunks."""
        packed = [chunk.packed for chunk in self._chunks]
        summary = {
            "key_field": self._key_field,
            "ordered": self._ordered,
            "hash": self.hash,
            "chunks": [(len(part.deflated), part.count, part.size_bytes, part.crc) for part in packed],
        }
        return orjson.dumps(summary) + b"\n" + b"".join(part.deflated for part in packed)

    @cached_property
    def count(self) -> int:
        return sum(chunk.packed.count for chunk in self._chunks)

    @cached_property
    def size_bytes(self) -> int:
        """The length of the JSON."""
        return sum(chunk.packed.size_bytes + 1 for chunk in self._chunks) + (1 if self._chunks else 2)

    @property
    def memory_bytes(self) -> int:
        """The approximate memory that the listing takes now."""
        made = sum(len(self.__dict__.get(name, b"")) for name in ("body", "gzip"))
        return made + sum(chunk.memory_bytes for chunk in self._chunks)

    @cached_property
    def hash(self) -> str:
        """A digest of the contents, equal for listings with equal contents."""
        digest = hashlib.sha256()
        for chunk in self._chunks:
            digest.update(chunk.text + b",")
        return digest.hexdigest()[:20]

    @property
    def _crc(self) -> int:
        crc = zlib.crc32(b"[")
        for number, chunk in enumerate(self._chunks):
            crc = combine(zlib.crc32(b",", crc) if number else crc, chunk.packed.crc, chunk.packed.size_bytes)
        return zlib.crc32(b"]", crc)

    @cached_property
    def body(self) -> bytes:
        """The listing as a JSON array."""
        return b"[" + b",".join(chunk.text for chunk in self._chunks) + b"]"

    @cached_property
    def gzip(self) -> bytes:
        """The same array, compressed."""
        tail = struct.pack("<LL", self._crc, self.size_bytes & 0xFFFFFFFF)
        middle = _COMMA.join(chunk.packed.deflated for chunk in self._chunks)
        return _GZIP_HEAD + _OPEN + middle + _CLOSE + _DEFLATE_END + tail

    @cached_property
    def records(self) -> list[Record]:
        """Every record as an object; do not change them."""
        return [record for chunk in self._chunks for record in chunk.records]

    def column(self, name: str) -> Sequence[Any]:
        """One field of every record; None where it is missing. Integers are in an array, which is fast to scan."""
        if name not in self._columns:
            values = [record.get(name) for record in self.records]
            numbers = all(type(value) is int and abs(value) < _MOST_IN_ARRAY for value in values)
            self._columns[name] = array("q", values) if numbers else values
        return self._columns[name]

    def rows(self, start: int, count: int) -> list[Record]:
        """At most ``count`` records, beginning with number ``start``; only the chunks with these are decompressed."""
        records: list[Record] = []
        for chunk in self._chunks:
            if len(records) >= count:
                break
            if start < chunk.packed.count:
                records += islice(chunk.records, start, start + count - len(records))
            start = max(0, start - chunk.packed.count)
        return records

    def find(self, key: str) -> Record | None:
        """The record with this key."""
        for number in self._where(self._chunks, key):
            at = self._at(self._chunks[number].records, key)
            if at is not None:
                return self._chunks[number].records[at]
        return None

    def find_casefolded(self, field: str, value: str) -> Record | None:
        """The first record whose text ``field`` is ``value``, compared without regard to case."""
        casefolded = value.lower()
        return next((record for chunk in self._chunks if (record := chunk.by_casefolded(field).get(casefolded))), None)

    def with_changes(self, changes: Iterable[Change]) -> Listing:
        """Return the listing with the changes applied in order."""
        chunks = list(self._chunks)
        for change in changes:
            self._apply(chunks, change)
        return Listing(self._key_field, chunks, ordered=self._ordered)

    def _apply(self, chunks: list[Chunk], change: Change) -> None:
        record = None if change.record is None else orjson.loads(change.record)
        for number in self._where(chunks, change.key):
            old = chunks[number].records
            at = self._at(old, change.key)
            if at is not None:
                new = [*old[:at], *([] if record is None else [record]), *old[at + 1 :]]
                chunks[number : number + 1] = [Chunk(records=new)] if new else []
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
        """The chunks that may hold the key."""
        if not self._ordered:
            yield from range(len(chunks))
        elif chunks:
            yield max(0, bisect.bisect(chunks, key, key=lambda chunk: self._key(chunk.records[0])) - 1)

    def _at(self, records: list[Record], key: str) -> int | None:
        if not self._ordered:
            return next((at for at, record in enumerate(records) if self._key(record) == key), None)
        at = bisect.bisect_left(records, key, key=self._key)
        return at if at < len(records) and self._key(records[at]) == key else None

    def _key(self, record: Record) -> str:
        return str(record[self._key_field])
