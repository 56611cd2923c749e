"""What one process knows of its logins; what several share is tested with the workers."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
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


class _Noting(threading.Condition):
    """Says when a thread begins to wait: it misses nothing that follows."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Event()

    def wait(self, timeout: float | None = None) -> bool:
        self.begun.set()
        return super().wait(timeout)


class _RefusedElsewhere(LoginGuard):
    """Another process is refused the login while a thread here is about to try it."""

    def __init__(self) -> None:
        super().__init__()
        self.is_refused = threading.Event()

    def shared_wait_s(self, account: str, password_fingerprint: str, *, is_accepted: bool) -> float:
        self.is_refused.wait(20)
        return 60.0


def _answer(guard: LoginGuard) -> str:
    try:
        guard.require("filer/api", "secret")
    except BackendUnavailable:
        return "refused"
    return "may try"


@pytest.mark.parametrize(
    ("end", "answer"), [("refusal", "refused"), ("acceptance", "may try"), ("undecided", "may try")]
)
def test_a_thread_waits_until_the_trial_of_another_ends(end: str, answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login_guard, "TRIAL_S", 60.0)
    guard, noting = LoginGuard(), _Noting()
    guard._changed = noting
    assert _answer(guard) == "may try"
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(_answer, guard)
        assert noting.begun.wait(20)
        getattr(guard, f"record_{end}")("filer/api", "secret")
        assert waiting.result(20) == answer


def test_a_wait_ends_when_another_process_forbids_the_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login_guard, "TRIAL_S", 60.0)
    guard, noting = _RefusedElsewhere(), _Noting()
    guard._changed = noting
    with ThreadPoolExecutor(2) as threads:
        answers = [threads.submit(_answer, guard) for _ in range(2)]
        assert noting.begun.wait(20)
        guard.is_refused.set()
        assert [answer.result(20) for answer in answers] == ["refused", "refused"]
