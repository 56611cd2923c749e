"""Scripts are run over connections that are whole, and that are given back."""

from __future__ import annotations

import pytest

from tests.worker.bench import PREFIX
from worker.redis_access import RedisAway, Scripts, connect
from worker.settings import Settings, load


@pytest.fixture
def scripts(redis_url, redis_client):
    """With a single connection for all of them."""
    return Scripts(connect(load(Settings, redis_url=redis_url), answer_limit_s=0.2, connections=1), PREFIX)


def test_a_connection_is_given_back(scripts):
    for _ in range(3):
        assert scripts.show("none", 0, 0)[0] == []


def test_a_connection_that_was_cut_off_is_opened_anew(redis_client, scripts):
    scripts.show("none", 0, 0)
    redis_client.client_kill_filter(_type="normal", skipme=True)
    assert scripts.show("none", 0, 0)[0] == []


def test_an_answer_that_comes_too_late_is_nobody_elses(redis_client, scripts):
    redis_client.client_pause(500, all=True)
    with pytest.raises(RedisAway):
        scripts.present("node", "queue")
    redis_client.ping()
    assert scripts.show("none", 0, 0)[0] == []


def test_an_error_of_a_script_leaves_its_connection_whole(scripts):
    with pytest.raises(Exception, match="attempt to"):
        scripts.show()
    assert scripts.show("none", 0, 0)[0] == []
