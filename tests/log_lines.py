"""The lines that the service logs, one for each call of a logger, so that a change shows in a review.

``make interface`` writes ``log_lines.txt`` anew: after a change that is meant. Operators search logs by the level, the
event and the fields of a line; many lines are about states that tests reach rarely or not at all.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

FILE = Path(__file__).with_name("log_lines.txt")
_TOP = Path(__file__).resolve().parents[1]
_PACKAGES = ("api", "worker", "storage_backends")
_LOGGERS = frozenset({"log", "logger"})
_LEVELS = frozenset({"debug", "info", "warning", "error", "exception", "critical"})


def lines() -> list[str]:
    """Return file, function, level, event and fields of each call."""
    files = sorted(file for package in _PACKAGES for file in (_TOP / package).rglob("*.py"))
    return [line for file in files for line in of_source(str(file.relative_to(_TOP)), file.read_text("utf-8"))]


def of_source(file: str, source: str) -> Iterator[str]:
    """Return the lines of one module."""
    if not any(f"{name}." in source for name in _LOGGERS):
        return
    tree = ast.parse(source)
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
        for call in filter(_is_of_logger, ast.walk(function)):
            text = ast.get_source_segment(source, call) or ""
            yield f"{file} {function.name}: {' '.join(text.split())}"


def _is_of_logger(node: ast.AST) -> bool:
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=level)):
            return name in _LOGGERS and level in _LEVELS
    return False


if __name__ == "__main__":
    FILE.write_text("\n".join(lines()) + "\n", "utf-8")
