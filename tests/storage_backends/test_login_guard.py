"""What one process knows of its logins; what several share is tested with the workers."""

from __future__ import annotations

import pytest

from storage_backends.errors import BackendUnavailable
from storage_backends.login_guard import LoginGuard


def test_requests_that_were_refused_together_count_once() -> None:
    guard = LoginGuard()
    guard.require("filer/api", "wrong")
    for _ in range(4):
        guard.record_refusal("filer/api", "wrong")

    with pytest.raises(BackendUnavailable, match="in about 1 min"):
        guard.require("filer/api", "wrong")
    guard.require("filer/api", "right")
    guard.require("filer/other", "wrong")
