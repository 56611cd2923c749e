"""Tests of the drivers; the conformance suite's assertions are explained like those of any test."""

import pytest

pytest.register_assert_rewrite("tests.storage_backends.conformance")
