"""Every test asserts something, by itself or through a helper of the tests; and of something that is there."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

_TOP = Path(__file__).resolve().parents[1]
_FOLDERS = ("tests", "client/tests")
#: Calls of pytest that make a test able to fail.
_CHECKS = frozenset({"pytest.raises", "pytest.fail", "pytest.warns"})
_HELPER_DEPTH = 4

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def _called(function: Function) -> set[str]:
    """The names of what a function calls, without what stands before the last dot."""
    calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
    return {ast.unparse(call.func).rpartition(".")[2] for call in calls}


@cache
def _asserts(function: Function) -> bool:
    return any(
        isinstance(node, ast.Assert) or (isinstance(node, ast.Call) and ast.unparse(node.func) in _CHECKS)
        for node in ast.walk(function)
    )


def _is_filled(iterable: ast.expr, filled: set[str]) -> bool:  # noqa: PLR0911 - one for each kind of expression
    """Is it certain that a loop over this finds something? ``filled``: names and helpers of which it is."""
    match iterable:
        case ast.Tuple(elts=parts) | ast.List(elts=parts) | ast.Set(elts=parts):
            return bool(parts)
        case ast.Dict(keys=keys):
            return bool(keys)
        case ast.Constant(value=value):
            return bool(value)
        case ast.Name(id=name) | ast.Attribute(attr=name):
            # Constants, and enumerations.
            return name.lstrip("_")[:1].isupper() or name in filled
        case ast.Subscript(value=whole) | ast.Call(func=ast.Attribute(value=whole, attr="items" | "values" | "keys")):
            return _is_filled(whole, filled)
        case ast.ListComp(generators=loops):
            return all(_is_filled(loop.iter, filled) and not loop.ifs for loop in loops)
        case ast.Call(func=ast.Name(id="enumerate" | "sorted" | "zip" | "reversed" | "list"), args=parts):
            return all(_is_filled(part, filled) for part in parts)
        case ast.Call(func=function):
            return ast.unparse(function).rpartition(".")[2] in filled
    return False


def _loops_over_what_may_be_nothing(test: Function, asserting: set[str]) -> list[int]:
    """Lines of the loops without which a test asserts nothing, over something that may be empty."""
    parametrized = {
        argument.arg for argument in test.args.args if "parametrize" in " ".join(map(ast.unparse, test.decorator_list))
    }
    filled = asserting | parametrized | {"range"}
    for assigned in ast.walk(test):
        if isinstance(assigned, ast.Assign | ast.AnnAssign) and assigned.value and _is_filled(assigned.value, filled):
            targets = assigned.targets if isinstance(assigned, ast.Assign) else [assigned.target]
            filled |= {ast.unparse(target) for target in targets}
    loops = [node for node in ast.walk(test) if isinstance(node, ast.For) and not _is_filled(node.iter, filled)]
    inside = {id(node) for loop in loops for statement in loop.body for node in ast.walk(statement)}
    checks = [node for node in ast.walk(test) if isinstance(node, ast.Assert)]
    if not checks or any(id(check) not in inside for check in checks):
        return []
    return [loop.lineno for loop in loops]


def _functions() -> list[tuple[Path, Function]]:
    files = [path for folder in _FOLDERS for path in sorted((_TOP / folder).rglob("*.py"))]
    return [
        (path, node)
        for path in files
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def _asserting(functions: list[tuple[Path, Function]]) -> set[str]:
    """The names of functions that assert, or call one that does."""
    names = {function.name for _, function in functions if _asserts(function)}
    for _ in range(_HELPER_DEPTH):
        names |= {function.name for _, function in functions if _called(function) & names}
    return names


def test_every_test_has_an_assertion():
    functions = _functions()
    asserting = _asserting(functions)
    tests = [(path, function) for path, function in functions if function.name.startswith("test")]
    assert len(tests) > 500
    empty = [
        f"{path.relative_to(_TOP)}:{function.lineno} {function.name}"
        for path, function in tests
        if not _asserts(function) and not _called(function) & asserting
    ]
    assert empty == []
    over_nothing = [
        f"{path.relative_to(_TOP)}:{line} {function.name}"
        for path, function in tests
        for line in _loops_over_what_may_be_nothing(function, asserting)
    ]
    assert over_nothing == []


@pytest.mark.parametrize(
    ("loop", "lines"),
    [
        ("for each in found(): assert each", [2]),
        ("for each in found().items(): assert each", [2]),
        ("for each in [part for part in NAMES if part]: assert each", [2]),
        ("for each in made(): assert each", []),
        ("for each in (1, 2): assert each", []),
        ("some: list[int] = [1]\n    for each in some: assert each", []),
        ("for each in found(): pass\n    assert found()", []),
    ],
)
def test_assertions_in_loops_over_empty_collections_are_detected(loop, lines):
    (test,) = (each for each in ast.parse(f"def test():\n    {loop}").body if isinstance(each, ast.FunctionDef))
    assert _loops_over_what_may_be_nothing(test, {"made"}) == lines
