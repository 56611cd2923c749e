"""Every test asserts something: by itself, or through a helper of the tests that does."""

from __future__ import annotations

import ast
from pathlib import Path

_TOP = Path(__file__).resolve().parents[1]
_FOLDERS = ("tests", "client/tests")
#: Calls of pytest that make a test able to fail.
_CHECKS = frozenset({"pytest.raises", "pytest.fail", "pytest.warns"})
_HELPER_DEPTH = 4

Function = ast.FunctionDef | ast.AsyncFunctionDef


def _called(function: Function) -> set[str]:
    """The names of what a function calls, without what stands before the last dot."""
    calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
    return {ast.unparse(call.func).rpartition(".")[2] for call in calls}


def _asserts(function: Function) -> bool:
    return any(
        isinstance(node, ast.Assert) or (isinstance(node, ast.Call) and ast.unparse(node.func) in _CHECKS)
        for node in ast.walk(function)
    )


def _functions() -> list[tuple[Path, Function]]:
    files = [path for folder in _FOLDERS for path in sorted((_TOP / folder).rglob("*.py"))]
    return [
        (path, node)
        for path in files
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def test_every_test_can_fail():
    functions = _functions()
    asserting = {function.name for _, function in functions if _asserts(function)}
    for _ in range(_HELPER_DEPTH):
        asserting |= {function.name for _, function in functions if _called(function) & asserting}
    tests = [(path, function) for path, function in functions if function.name.startswith("test")]
    assert len(tests) > 500
    empty = [
        f"{path.relative_to(_TOP)}:{function.lineno} {function.name}"
        for path, function in tests
        if not _asserts(function) and not _called(function) & asserting
    ]
    assert empty == []
