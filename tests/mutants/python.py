"""Mutants of Python code: conditions negated or cut, checks, locks and calls dropped, arguments swapped, off by one."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator
from typing import NamedTuple

_COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Eq: "!=", ast.NotEq: "==", ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">",
    ast.Is: "is not", ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in",
}  # fmt: skip
#: Calls and arguments that no test is to notice.
_UNNOTICED = ("log.", "print", "structlog.", "tracing.")
_UNNOTICED_ARGUMENTS = ("strict", "repr")


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
    if isinstance(node, ast.stmt):
        yield from _of_statements(node, source)
    elif isinstance(node, ast.Compare) and len(node.ops) == 1:
        left, right = _text(node.left, source), _text(node.comparators[0], source)
        yield _instead(node, f"{left} {_COMPARISONS[type(node.ops[0])]} {right}")
    elif isinstance(node, ast.BoolOp):
        yield from _of_terms(node, source)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield _instead(node, f"({_text(node.operand, source)})")
    elif isinstance(node, ast.Constant) and isinstance(node.value, int):
        yield _instead(node, str(_other(node.value)))
    elif isinstance(node, ast.IfExp):
        yield from _negated(node.test, source)
    elif isinstance(node, ast.Call):
        yield from (_without(node, keyword, source) for keyword in node.keywords if keyword.arg)
        yield from _swapped(node, source)


def _of_terms(node: ast.BoolOp, source: str) -> Iterator[Edit]:
    """The other word between the terms, and each term left out."""
    one, other = (" and ", " or ") if isinstance(node.op, ast.And) else (" or ", " and ")
    parts = [f"({_text(value, source)})" for value in node.values]
    yield _instead(node, f"({other.join(parts)})")
    yield from (_instead(node, f"({one.join(parts[:at] + parts[at + 1 :])})") for at in range(len(parts)))


def _of_statements(node: ast.stmt, source: str) -> Iterator[Edit]:
    if isinstance(node, ast.If | ast.While):
        yield from _negated(node.test, source)
        # A check that is dropped: what it would do is never done.
        if isinstance(node, ast.If) and not node.orelse:
            yield _instead(node.test, "False")
    elif isinstance(node, ast.With) and not any(item.optional_vars or _is_lock(item) for item in node.items):
        yield _without_context(node)
    elif isinstance(node, ast.Return) and node.value is not None and not _is_none(node.value):
        yield _instead(node, "return None")
    elif _can_be_dropped(node):
        yield _instead(node, "pass")


def _negated(test: ast.expr, source: str) -> Iterator[Edit]:
    """Comparisons and their like have mutants of their own."""
    if isinstance(test, ast.Name | ast.Attribute | ast.Call):
        yield _instead(test, f"not {_text(test, source)}")


def _can_be_dropped(node: ast.stmt) -> bool:
    """Calls, jumps, and assignments of fields; without the assignment of a name nothing works at all."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Call | ast.Await)
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return not any(isinstance(target, ast.Name | ast.Tuple) for target in targets)
    return isinstance(node, ast.Raise | ast.Continue | ast.Break | ast.AugAssign)


def _is_lock(item: ast.withitem) -> bool:
    """Locks that are forgotten are noticed by `tests/test_locks.py`, which executes none of them."""
    return ast.unparse(item.context_expr).endswith("lock")


def _without_context(node: ast.With) -> Edit:
    """A block that is entered without what it holds."""
    first, last = node.items[0].context_expr, node.items[-1].context_expr
    assert last.end_lineno is not None
    assert last.end_col_offset is not None
    nothing = "__import__('contextlib').nullcontext()"
    return Edit(first.lineno, first.col_offset, last.end_lineno, last.end_col_offset, nothing)


def _swapped(call: ast.Call, source: str) -> Iterator[Edit]:
    """Two neighbouring arguments in the wrong order, where it matters."""
    if isinstance(call.func, ast.Name) and call.func.id in ("max", "min"):
        return
    for one, other in itertools.pairwise(call.args):
        is_same = ast.unparse(one) == ast.unparse(other)
        if not is_same and not isinstance(one, ast.Starred) and not isinstance(other, ast.Starred):
            text = f"{_text(other, source)}, {_text(one, source)}"
            assert other.end_lineno is not None
            assert other.end_col_offset is not None
            yield Edit(one.lineno, one.col_offset, other.end_lineno, other.end_col_offset, text)


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
        if isinstance(node, ast.Call):
            node.keywords = [each for each in node.keywords if each.arg not in _UNNOTICED_ARGUMENTS]
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
