"""What processes of many threads ask of the interpreter."""

from __future__ import annotations

import gc
import sys

import pytest

from worker.config.python_interpreter import configure_interpreter


@pytest.fixture
def _as_before():
    before = sys.getswitchinterval()
    yield
    sys.setswitchinterval(before)
    gc.unfreeze()


@pytest.mark.usefixtures("_as_before")
def test_what_is_there_is_not_collected_again_and_threads_follow_quickly():
    configure_interpreter()
    assert gc.get_freeze_count() > 1000
    assert sys.getswitchinterval() == pytest.approx(0.001)
