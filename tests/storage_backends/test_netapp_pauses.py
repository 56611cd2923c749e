"""Pauses and patience of the NetApp driver as it ships; the tests of the driver itself shorten them."""

from __future__ import annotations

import pytest

from storage_backends.netapp.ontap import client, jobs, lookups
from storage_backends.netapp.operations import mutation
from storage_backends.netapp.reconciliation import reconcile


@pytest.mark.parametrize(
    "pause_s",
    [
        client._PAUSE_S, jobs.LONGEST_PAUSE_S, lookups.EMPTY_PAGE_PAUSE_S, mutation.PAUSE_S, reconcile.PAUSE_S,
    ],
)  # fmt: skip
def test_a_filer_that_is_busy_is_asked_at_most_twice_a_second_and_a_client_waits_little_longer(pause_s: float) -> None:
    assert 0.5 <= pause_s <= 2


@pytest.mark.parametrize("pause_s", [jobs.FIRST_PAUSE_S, mutation.FIRST_PAUSE_S])
def test_the_first_pauses_between_reads_of_a_job_are_short(pause_s: float) -> None:
    assert 0.02 <= pause_s <= 0.1


def test_a_filer_may_fail_over_while_a_change_is_under_way() -> None:
    """A takeover takes half a minute; afterwards the change is in doubt, which other workers settle."""
    assert jobs.PATIENCE_S >= 60
    assert mutation.PATIENCE_S == mutation.VISIBLE_S == 30
    assert reconcile.MARGIN_S >= 3
    assert reconcile.SHOWN_S >= 5
