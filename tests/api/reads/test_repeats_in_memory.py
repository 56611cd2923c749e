"""Answers that are given again: how many are in memory, how they are known, and how large ones are sent."""

from __future__ import annotations

from unittest.mock import MagicMock, Mock

from api.response_cache import middleware as response_cache


def _middleware_of(service):
    middleware = service.app.wsgi_app
    while not isinstance(middleware, response_cache.ResponseCacheMiddleware):
        middleware = middleware._application
    return middleware


def test_large_responses_are_sent_one_at_a_time(read_service, monkeypatch):
    held, middleware = [], _middleware_of(read_service)
    monkeypatch.setattr(response_cache, "log_request", lambda **_: held.append(middleware._large.locked()))
    size = len(read_service.get().data)
    for largest in (size, size - 1):
        monkeypatch.setattr(response_cache, "_LARGE_BYTES", largest)
        assert len(read_service.get().data) == size
    assert held == [False, True]
    assert not middleware._large.locked()


def test_the_last_responses_are_cached(read_service, monkeypatch):
    monkeypatch.setattr(response_cache, "_MAX_RESPONSES", 2)
    paths = ["volumes?limit=1", "volumes?limit=2", "volumes?limit=3"]
    for path in (*paths, paths[2], paths[1]):
        read_service.get(path)
    assert len(read_service.times) == 3
    read_service.get(paths[0])
    assert len(read_service.times) == 4
    # One that was made anew is as new as any other.
    read_service.change("DELETE", "volumes/acclog_backup01")
    for path in (paths[2], paths[1], paths[2]):
        read_service.get(path)
    assert len(read_service.times) == 6


def test_the_oldest_responses_are_evicted(make_service):
    service = make_service()
    service.get()
    service.run_all()
    kept = _middleware_of(service)
    small, large, new = (service.get(f"volumes?limit={limit}").data for limit in (1, 3, 2))
    kept._responses.clear()
    kept._max_bytes = len(large) + len(new) - 1
    assert len(small) + len(large) <= kept._max_bytes
    for limit in (1, 3, 2):
        service.get(f"volumes?limit={limit}")
    assert [response.body for response in kept._responses.values()] == [new]


def test_cached_responses_use_a_quarter_of_the_bytes_of_listings(make_service):
    service = make_service()
    service.get()
    service.run_all()
    size = len(service.get().data)
    for most, kept in ((4 * size - 1, 0), (4 * size, 1)):
        other = make_service(api={"listing_cache_bytes": most})
        assert [other.get().status_code for _ in range(2)] == [200, 200]
        assert len(_middleware_of(other)._responses) == kept


def test_digests_of_requests_differ_between_processes():
    environ = {"PATH_INFO": "/v4/dummy/volumes", "HTTP_AUTHORIZATION": "Basic eDp5"}
    caches = [response_cache.ResponseCacheMiddleware(Mock(), MagicMock()) for _ in range(2)]
    assert caches[0]._digest(environ) == caches[0]._digest(environ) != caches[1]._digest(environ)
