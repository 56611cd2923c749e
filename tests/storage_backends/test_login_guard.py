"""What one process knows of its logins; what several share is tested with the workers."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from storage_backends import login_guard
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
    assert login_guard.fingerprint("filer/api", "wrong") != login_guard.fingerprint("filer/other", "wrong")


def test_each_refusal_doubles_the_wait_up_to_a_quarter_of_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 1000.0
    monkeypatch.setattr(login_guard, "time", SimpleNamespace(monotonic=lambda: now_s))
    login, guard = ("filer/api", "wrong"), LoginGuard()

    for wait_s in (60, 120, 240, 480, 900, 900):
        guard.record_refusal(*login)
        now_s += wait_s - 1
        with pytest.raises(BackendUnavailable, match="in about 1 min"):
            guard.require(*login)
        now_s += 1
        guard.require(*login)

    guard.record_acceptance(*login)
    guard.record_refusal(*login)
    now_s += 60
    guard.require(*login)


def test_while_one_thread_tries_a_login_the_others_wait() -> None:
    guard, answers = LoginGuard(), list[str]()
    guard.require("filer/api", "wrong")

    def second() -> None:
        with pytest.raises(BackendUnavailable):
            guard.require("filer/api", "wrong")
        answers.append("refused")

    waiting = threading.Thread(target=second)
    waiting.start()
    waiting.join(0.1)
    assert waiting.is_alive()
    guard.record_refusal("filer/api", "wrong")
    waiting.join(10)
    assert answers == ["refused"]
