"""Scripts and a back-end that report the begin and the end of each call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from storage_backends.base import StorageBackend

Count = Callable[[str], None]


class CountedScripts:
    """JobScripts that report each call before and after it."""

    def __init__(self, scripts: Any, count: Count) -> None:
        self._scripts = scripts
        self._count = count

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            what = f"{name} {arguments[2]}" if name == "record_progress" else name
            self._count(f"before {what}")
            answer = getattr(self._scripts, name)(*arguments, **options)
            self._count(f"after {what}")
            return answer

        return call


class CountedBackend:
    """A back-end that reports each call before and after it."""

    def __init__(self, backend: StorageBackend, count: Count) -> None:
        self._backend = backend
        self._count = count

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._backend, name)

        def call(*arguments: Any, **options: Any) -> Any:
            self._count(f"before {name}")
            answer = method(*arguments, **options)
            self._count(f"after {name}")
            return answer

        return call
