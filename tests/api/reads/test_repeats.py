"""Answers that are given again: they fail as every other does."""

from __future__ import annotations

import pytest
import redis

from tests.api.front import problem
from worker.glance import Glances


@pytest.mark.parametrize("error", [redis.TimeoutError, redis.ConnectionError])
def test_redis_goes_away_between_two_answers(service, monkeypatch, error):
    assert service.get().status_code == 202
    service.run_all()
    first = service.get()
    assert first.status_code == 200
    asked = []

    def away(*_):
        asked.append("a glance")
        raise error("gone")

    monkeypatch.setattr(Glances, "ask", away)
    answer = service.get(X_Request_ID="mine")
    problem(answer, 503, "queue-unavailable")
    assert (answer.headers["Retry-After"], answer.headers["X-Request-ID"]) == ("2", "mine")
    assert asked == ["a glance"], "asked twice, Redis would be waited for twice"
    monkeypatch.undo()
    assert service.get().headers["ETag"] == first.headers["ETag"]
