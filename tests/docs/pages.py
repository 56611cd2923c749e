"""The commands in the manual: fenced blocks of ``sh`` are typed, blocks of ``python`` are saved under their first line.

A comment on the line before a block says what is different: ``<!-- not run here: why -->``, or
``<!-- answers with an error -->``, or ``<!-- exits with 5 -->``.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
PAGES = sorted([TOP / "README.md", *(TOP / "docs").glob("*.md")])

_FENCE = re.compile(
    r"(?:^[ ]*<!-- (?P<note>[^\n]*?) -->\n)?^(?P<in>[ ]*)```(?P<kind>\w+)\n(?P<text>.*?)^(?P=in)```$",
    re.DOTALL | re.MULTILINE,
)
_FILE = re.compile(r"# (\w+\.py)\n")
#: How commands begin; a block that begins so and is not fenced as ``sh`` would never be tried.
_TYPED = re.compile(
    r"\$ |(?:sudo|curl|make|docker|oc|kubectl|git|pip|python3?|export|celery|redis-cli|storage-api|\.venv/bin/\w+)\b",
    re.ASCII,
)
_NOT_RUN = "not run here: "
_EXITS = re.compile(r"exits with ([0-9]+)")


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    page: Path
    line: int
    kind: str
    note: str
    text: str

    @property
    def runs(self) -> bool:
        """Is it to be tried?"""
        return not self.note.startswith(_NOT_RUN)

    @property
    def exit_status(self) -> int:
        """What its last command ends with: 0, but where it is there to show an error."""
        if self.note == "answers with an error":
            return 22  # of curl, for an answer of 400 or more
        match = _EXITS.fullmatch(self.note)
        return int(match[1]) if match else 0

    @property
    def file(self) -> str:
        """For a program: what it is to be saved as."""
        match = _FILE.match(self.text)
        return match[1] if match else ""


def blocks(page: Path) -> list[Block]:
    """Return every fenced block of a page."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            page,
            text.count("\n", 0, match.start("text")),
            match["kind"],
            match["note"] or "",
            textwrap.dedent(match["text"]),
        )
        for match in _FENCE.finditer(text)
    ]


def strays(page: Path) -> list[str]:
    """Return commands outside blocks of ``sh``, which are not run by tests."""
    text = page.read_text(encoding="utf-8")
    indented = [line.strip() for line in _FENCE.sub("", text).splitlines() if re.match(r"    \S", line)]
    others = [
        line
        for block in blocks(page)
        if block.kind in ("text", "console", "bash", "shell")
        for line in block.text.splitlines()
    ]
    return [line for line in indented + others if _TYPED.match(line)]
