"""The ``with`` block of a batch: what is sent at its end, and when nothing is."""

from __future__ import annotations

import pytest

from answering import parts


def test_an_empty_block_submits_nothing() -> None:
    driver, client = parts()
    with client["client"].batch("b"):
        pass
    assert driver.sent == []


def test_a_block_that_raises_submits_nothing() -> None:
    driver, client = parts()
    with pytest.raises(LookupError), client["client"].batch("b") as batch:
        batch.lock("s", "v", "h")
        raise LookupError
    assert driver.sent == []


@pytest.mark.parametrize("wait", [True, False])
def test_waiting_does_not_submit_the_batch_again(wait: bool) -> None:
    driver, client = parts()
    batch = client["client"].batch("b", wait=wait)
    batch.lock("s", "v", "h")
    batch.submit()
    batch.run()
    assert [line[:2] for line in driver.sent].count(("POST", "/v4/batches")) == 1
