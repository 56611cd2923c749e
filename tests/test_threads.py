"""Every thread that the product starts is a daemon: otherwise a process that is asked to end would go on with it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

_TOP = Path(__file__).parents[1]
_FOLDERS = ("api", "worker", "storage_backends", "deploy", "client/storage_api_client")
#: It waits for the end of the main thread.
_OTHERS = {("api/http/shutdown.py", "end")}


def test_no_thread_keeps_its_process_alive():
    threads = list(_threads())
    assert len(threads) > 10
    assert {(file, name) for file, name, is_daemon in threads if not is_daemon} == _OTHERS


def _threads() -> Iterator[tuple[str, object, bool]]:
    """The file, the name and the daemon flag of each thread, those of subclasses too."""
    for path in (path for folder in _FOLDERS for path in sorted((_TOP / folder).rglob("*.py"))):
        tree = ast.parse(path.read_text())
        classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and _is_thread(node)]
        calls = [call for node in (tree, *classes) for call in ast.walk(node) if isinstance(call, ast.Call)]
        for call in calls:
            called = ast.unparse(call.func)
            if called == "threading.Thread" or (called == "super().__init__" and classes):
                given = {each.arg: each.value.value for each in call.keywords if isinstance(each.value, ast.Constant)}
                yield str(path.relative_to(_TOP)), given.get("name"), given.get("daemon") is True


def _is_thread(node: ast.ClassDef) -> bool:
    return "threading.Thread" in map(ast.unparse, node.bases)
