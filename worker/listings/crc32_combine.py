"""Computes the CRC-32 of concatenated parts from the CRC-32s of the parts.

Polynomial arithmetic over GF(2), bits reflected as in zlib, whose ``crc32_combine`` Python does not offer.
"""

from __future__ import annotations

from functools import lru_cache

_POLYNOMIAL = 0xEDB88320
_ONE = 1 << 31


def combine(first: int, second: int, second_bytes: int) -> int:
    """Return the CRC-32 of two parts, from that of each and the length of the second."""
    return _product(_power(second_bytes), first) ^ second


def _product(a: int, b: int) -> int:
    product, mask = 0, _ONE
    while mask and a & (2 * mask - 1):
        if a & mask:
            product ^= b
        mask >>= 1
        b = (b >> 1) ^ _POLYNOMIAL if b & 1 else b >> 1
    return product


def _squares() -> list[int]:
    """X to the power 2^n, for n up to 31."""
    powers = [1 << 30]
    while len(powers) < 32:  # noqa: PLR2004 - the order of x divides 2^32 - 1, so they come again from here on
        powers.append(_product(powers[-1], powers[-1]))
    return powers


_SQUARES = _squares()


@lru_cache(4096)
def _power(size_bytes: int) -> int:
    """Return x to the power of the number of bits."""
    power, n, rest = _ONE, 3, size_bytes
    while rest:
        if rest & 1:
            power = _product(_SQUARES[n & 31], power)
        rest >>= 1
        n += 1
    return power
