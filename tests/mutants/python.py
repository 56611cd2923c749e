"""Mutants of Python code: conditions negated or cut, comparisons and numbers off by one, calls dropped."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import NamedTuple

_COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Eq: "!=", ast.NotEq: "==", ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">",
    ast.Is: "is not", ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in",
}  # fmt: skip
#: Calls that no test is to notice.
_UNNOTICED = ("log.", "print", "structlog.", "tracing.")


class Edit(NamedTuple):
    """One fault: from which line and column (in bytes) to which, and what stands there instead."""

    line: int
    column: int
    end_line: int
    end_column: int
    text: str


def mutants(source: str) -> Iterator[Edit]:
    """Every mutant of a module, in the order of its lines."""
    tree = ast.parse(source)
    _take_out_what_is_no_behaviour(tree)
    found = {edit for node in ast.walk(tree) for edit in _edits(node, source)}
    yield from sorted(found)


def applied(source: str, edit: Edit) -> str:
    """The source with the fault in it."""
    lines = source.encode().splitlines(keepends=True)
    first, last = lines[edit.line - 1], lines[edit.end_line - 1]
    changed = first[: edit.column] + edit.text.encode() + last[edit.end_column :]
    return b"".join([*lines[: edit.line - 1], changed, *lines[edit.end_line :]]).decode()


def _edits(node: ast.AST, source: str) -> Iterator[Edit]:
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        left, right = _text(node.left, source), _text(node.comparators[0], source)
        yield _instead(node, f"{left} {_COMPARISONS[type(node.ops[0])]} {right}")
    elif isinstance(node, ast.BoolOp):
        word = " or " if isinstance(node.op, ast.And) else " and "
        parts = [f"({_text(value, source)})" for value in node.values]
        yield _instead(node, f"({word.join(parts)})")
        for place in range(len(parts)):
            joined = (" and " if isinstance(node.op, ast.And) else " or ").join(parts[:place] + parts[place + 1 :])
            yield _instead(node, f"({joined})")
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield _instead(node, f"({_text(node.operand, source)})")
    elif isinstance(node, ast.Constant) and isinstance(node.value, int):
        yield _instead(node, str(_other(node.value)))
    elif isinstance(node, ast.If | ast.IfExp | ast.While) and isinstance(
        node.test, ast.Name | ast.Attribute | ast.Call
    ):
        yield _instead(node.test, f"not {_text(node.test, source)}")
    elif (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call | ast.Await)) or isinstance(
        node, ast.Raise | ast.Continue | ast.Break | ast.AugAssign
    ):
        yield _instead(node, "pass")
    elif isinstance(node, ast.Return) and node.value is not None and not _is_none(node.value):
        yield _instead(node, "return None")
    elif isinstance(node, ast.Call) and node.keywords:
        yield from (_without(node, keyword, source) for keyword in node.keywords if keyword.arg)


def _other(value: int) -> int:
    if isinstance(value, bool):
        return not value
    # One more or less of a hundred seconds or bytes is no fault.
    return value + 1 if abs(value) < 100 else value * 3


def _without(call: ast.Call, dropped: ast.keyword, source: str) -> Edit:
    named = [each for each in call.keywords if each is not dropped]
    words = [_text(argument, source) for argument in call.args]
    words += [
        f"{each.arg}={_text(each.value, source)}" if each.arg else f"**{_text(each.value, source)}" for each in named
    ]
    return _instead(call, f"{_text(call.func, source)}({', '.join(words)})")


def _take_out_what_is_no_behaviour(tree: ast.AST) -> None:
    """Leave out annotations, decorators, log lines, assertions and what is for type checkers only."""
    for node in ast.walk(tree):
        for name in ("annotation", "returns"):
            if getattr(node, name, None) is not None:
                setattr(node, name, None)
        if hasattr(node, "decorator_list"):
            node.decorator_list = []
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, None)
            if isinstance(block, list):
                setattr(node, name, [each for each in block if not _is_unnoticed(each)])


def _is_unnoticed(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING":
        return True
    if isinstance(statement, ast.Expr):
        return ast.unparse(statement.value).startswith(_UNNOTICED)
    return isinstance(statement, ast.Assert)


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _text(node: ast.AST, source: str) -> str:
    return ast.get_source_segment(source, node) or ast.unparse(node)


def _instead(node: ast.expr | ast.stmt, text: str) -> Edit:
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    return Edit(node.lineno, node.col_offset, node.end_lineno, node.end_col_offset, text)
