"""The settings of the interpreter for processes with many threads."""

from __future__ import annotations

import gc
import sys

import pytest

from worker.config.python_interpreter import configure_interpreter


@pytest.fixture
def _restore_interpreter():
    before = sys.getswitchinterval()
    yield
    sys.setswitchinterval(before)
    gc.unfreeze()


@pytest.mark.usefixtures("_restore_interpreter")
def test_objects_are_frozen_and_the_switch_interval_is_short():
    configure_interpreter()
    assert gc.get_freeze_count() > 1000
    assert sys.getswitchinterval() == pytest.approx(0.001)
