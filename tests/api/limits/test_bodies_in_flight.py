"""How much is sent at a time to users without a role for changes."""

from __future__ import annotations

import pytest

from api.limits import bodies_in_flight
from api.limits.bodies_in_flight import BodiesInFlight

BODIES = [bytes(40) + bytes([number]) for number in range(8)]


@pytest.fixture
def sent() -> BodiesInFlight:
    """Two bodies of one sender fit, and four in all."""
    return BodiesInFlight(4 * 41, 50)


def test_bytes_are_limited_for_each_sender_and_in_total(sent: BodiesInFlight) -> None:
    assert [sent.hold("ann", body) for body in BODIES[:3]] == [True, True, False]
    assert [sent.hold("bob", body) for body in BODIES[:3]] == [True, True, False]
    assert not sent.hold("eve", BODIES[0])
    sent.release("ann", BODIES[0])
    assert sent.hold("eve", BODIES[0])


def test_a_body_sent_to_many_clients_counts_once(sent: BodiesInFlight) -> None:
    assert sent.hold("", BODIES[0])
    assert all(sent.hold("", BODIES[0]) for _ in range(50))
    assert sent.hold("", BODIES[1])
    for _ in range(50):
        sent.release("", BODIES[0])
    assert not sent.hold("", BODIES[2])
    sent.release("", BODIES[0])
    assert sent.hold("", BODIES[2])


def test_a_single_body_may_exceed_the_limit() -> None:
    small = BodiesInFlight(10, 50)
    assert [small.hold("ann", body) for body in BODIES[:2]] == [True, False]
    small.release("ann", BODIES[0])
    assert small.hold("bob", BODIES[1])
    small.release("bob", BODIES[1])
    assert not small._sent


def test_the_first_body_of_a_sender_may_be_more_than_the_share(sent: BodiesInFlight) -> None:
    assert sent.hold("ann", BODIES[0])
    assert sent.hold("bob", bytes(3 * 41))
    assert not sent.hold("ann", BODIES[1])


def test_the_number_of_bodies_leaves_threads_for_other_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies_in_flight, "MOST", 4)
    sent = BodiesInFlight(1000, 50)
    assert [sent.hold(who, BODIES[0]) for who in ("", "", "", "ann", "bob", "eve")] == [
        True, True, False, True, True, False,
    ]  # fmt: skip
    sent.release("bob", BODIES[0])
    assert sent.hold("eve", BODIES[0])
