"""Lua scripts that tell which of their lines run: each statement publishes its file and line once for each call."""

from __future__ import annotations

import re
from collections.abc import Iterator

#: The end of the name of the channel; before it stands the prefix of the keys.
CHANNEL = "lua_lines"
_REPORT = (
    "local told_lines = {} local function tell_line(line) if not told_lines[line] then told_lines[line] = true "
    f"redis.call('PUBLISH', KEYS[1] .. '{CHANNEL}', line) end end "
)
_ONE_LINE_FUNCTION = re.compile(r"^((?:local )?function [\w.]+\([^)]*\))( .+ end)$")
_STRINGS_AND_COMMENTS = re.compile(r"'[^']*'|--.*")
_NO_STATEMENT = re.compile(r"^\s*(end|else|elseif|until|or|and|\.\.|[)}'\"]|--|$)")
_GOES_ON = re.compile(r"([,=({]|\.\.|\b(or|and|not))\s*$")


def traced(name: str, source: str, *, is_first: bool) -> str:
    """The source of a file so that its statements tell that they run; ``is_first``: all others come after it."""
    source_with_reports = "\n".join(_lines(name, source)) + "\n"
    return _REPORT + source_with_reports if is_first else source_with_reports


def _lines(name: str, source: str) -> Iterator[str]:
    depth, goes_on = 0, False
    for number, line in enumerate(source.splitlines(), 1):
        bare = _STRINGS_AND_COMMENTS.sub(lambda match: "''" if match[0][0] == "'" else "", line)
        begins = depth == 0 and not goes_on and not _NO_STATEMENT.match(line)
        depth += sum(bare.count(mark) for mark in "({[") - sum(bare.count(mark) for mark in ")}]")
        if bare.strip():
            goes_on = bool(_GOES_ON.search(bare))
        call = f"tell_line('{name}:{number}');"
        one_line = _ONE_LINE_FUNCTION.match(line)
        if one_line:
            yield f"{one_line[1]} {call}{one_line[2]}"
        elif begins and (line[0].isspace() or not name.endswith("functions")):
            yield f"{call} {line}"
        else:
            yield line
