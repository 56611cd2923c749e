"""Pages of the result of a read: all of one version of the listing, also when that is kept no longer."""

from __future__ import annotations

from urllib.parse import urlsplit


def _pages_of_a_result(service):
    """The first page of the result of a job, and the path of the second one."""
    result = service.get("volumes?limit=5").json["links"]["result"]
    service.run_all()
    client = service.app.test_client()
    first = client.get(result, auth=("admin", "secret"))
    return [row["name"] for row in first.json], lambda: client.get(_next(first), auth=("admin", "secret"))


def _next(answer):
    target = urlsplit(answer.headers["Link"].partition(">")[0].removeprefix("<"))
    return f"{target.path}?{target.query}"


def _replace_listing(service):
    """Nothing is kept of the listing; meanwhile its first volume went, and it was read again."""
    for pattern in ("sapi:*:dummy/volumes*", "sapi:result:*"):
        for key in service.redis.scan_iter(pattern):
            service.redis.delete(key)
    service.services.listing_cache._present.clear()
    service.services.listing_cache._former.clear()
    service.ask("DELETE", "volumes/acclog_backup01")
    service.run_all()
    service.get()
    service.run_all()


def test_pages_of_a_result_are_of_the_listing_that_the_job_read(make_service):
    service = make_service()
    first, second = _pages_of_a_result(service)
    names = [*first, *(row["name"] for row in second().json)]
    assert names == sorted(names)
    assert len(names) == 10
    _replace_listing(service)
    answer = second()
    assert (answer.status_code, answer.json["code"]) == (410, "page-token-expired")


def test_pages_of_an_expired_result_are_of_one_listing(make_service):
    """The first of them is of the current listing, and so are the others."""
    service = make_service()
    result = service.get("volumes?limit=5").json["links"]["result"]
    service.run_all()
    _replace_listing(service)
    client = service.app.test_client()
    first = client.get(result, auth=("admin", "secret"))
    second = client.get(_next(first), auth=("admin", "secret"))
    assert (first.status_code, second.status_code) == (200, 200)
    names = [row["name"] for answer in (first, second) for row in answer.json]
    assert names == [row["name"] for row in service.get("volumes?limit=10").json]


def test_a_page_token_of_another_listing_is_refused_for_a_result(make_service):
    service = make_service()
    _, second = _pages_of_a_result(service)
    other = service.get("export?limit=5").json["links"]["result"]
    service.run_all()
    client = service.app.test_client()
    assert second().status_code == 200
    token = service.get("volumes?limit=5").headers["Link"].partition("page_token=")[2].partition(">")[0]
    answer = client.get(f"{other.partition('?')[0]}?page_token={token}", auth=("admin", "secret"))
    assert (answer.status_code, answer.json["errors"][0]["pointer"]) == (422, "/page_token")


def test_a_joined_read_returns_the_result_of_its_own_query(make_service):
    service = make_service()
    results = [service.get(f"volumes?limit={limit}").json["links"]["result"] for limit in (5, 3)]
    assert service.run_all() == 1
    client = service.app.test_client()
    assert [len(client.get(result, auth=("admin", "secret")).json) for result in results] == [5, 3]


def test_the_result_of_a_change_or_about_one_object_takes_no_query(make_service):
    service = make_service()
    answers = [
        service.get("volumes/acclog_backup01"),
        service.ask("PATCH", "volumes/acclog_backup01", {"comment": "x"}),
    ]
    assert service.run_all() == 2
    client = service.app.test_client()
    for job in (answer.json["id"] for answer in answers):
        refused = client.get(f"/v4/jobs/{job}/result?limit=1", auth=("admin", "secret"))
        assert (refused.status_code, refused.json["errors"][0]["pointer"]) == (422, "/limit")
        assert client.get(f"/v4/jobs/{job}/result", auth=("admin", "secret")).status_code < 300
