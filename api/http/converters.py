"""URL converters for parts that may contain slashes: invalid names reach validation (422) instead of being 404."""

from __future__ import annotations

from werkzeug.routing import PathConverter


class AnythingConverter(PathConverter):
    """Matches any text, including line breaks."""

    regex = r"[\s\S]+?"
    part_isolating = False


class VolumeConverter(PathConverter):
    """Matches up to the volume's snapshots or locks, so that a method that they do not support is 405."""

    regex = r"(?:(?!/(?:snapshots|locks)(?:/[^/]+)?\Z)[\s\S])+?"
    part_isolating = False


class PolicyConverter(PathConverter):
    """Matches up to the policy's rules."""

    regex = r"(?:(?!/rule/)[\s\S])+?"
    part_isolating = False


CONVERTERS = {"anything": AnythingConverter, "volume": VolumeConverter, "policy": PolicyConverter}
