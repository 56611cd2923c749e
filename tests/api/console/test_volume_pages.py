"""The pages of volumes and of capacity: columns, filters, order and downloads."""

from __future__ import annotations

import re
from html import unescape
from typing import Any
from urllib.parse import parse_qs

import pytest
from werkzeug.datastructures import Headers

from api.console.api_client import ApiResponse
from api.console.capacity import cached_capacity
from api.http.problems import Problem
from tests.api.console.page_links import query_of
from tests.api.front_end import accepted

_VOLUMES = "/console/filer/volumes"


def _names(text: str) -> list[str]:
    return re.findall(r'<th scope="row"><a href="/console/filer/volumes/[^"]*">([^<]+)</a>', text)


class TestVolumes:
    def test_the_next_page_keeps_columns_filter_and_order(self, client, filled, monkeypatch):
        monkeypatch.setattr("api.console.volume_table.ROWS", ("4",))
        query = "columns=name&columns=uuid&sort=-name&filter=name%3D*0*"
        # What is read again is the first page.
        page = client.get(f"{_VOLUMES}?{query}&refresh=1", headers={"X-Console-Update": "1"}).text
        assert page.count('<th scope="col"') == 2
        link = query_of(page, "next")
        assert set(link) == {"columns", "sort", "filter", "page", "page_token"}
        assert (link["columns"], link["sort"], link["filter"]) == (["name", "uuid"], ["-name"], ["name=*0*"])
        second = client.get(_VOLUMES, query_string=link).text
        assert _names(page)[-1] > _names(second)[0]
        assert "5 to 8 of" in second

    def test_a_heading_sorts_and_a_second_click_reverses_the_order(self, client, filled):
        first = _names(client.get(f"{_VOLUMES}?sort=name").text)
        page = client.get(f"{_VOLUMES}?sort=-name").text
        assert _names(page) == first[::-1]
        assert 'aria-sort="descending"' in page
        # Rows in another order begin with the first page.
        links = re.findall(r'<th scope="col"[^>]*><a href="\?([^"]*)"', client.get(f"{_VOLUMES}?page=2&rows=50").text)
        assert len(links) > 5
        assert [set(parse_qs(unescape(link))) for link in links] == [{"rows", "sort"}] * len(links)

    def test_several_conditions_are_one_filter(self, client, filled):
        page = client.get(f"{_VOLUMES}?filter=name%3Ddb*%26size_total%3D%3E5").text
        assert _names(page) == ["db01"]

    def test_the_filter_of_a_link_is_in_the_filter_field(self, client, filled):
        page = client.get(f"{_VOLUMES}?state=online&name=db01").text
        assert 'name="filter" value="state=online&amp;name=db01"' in page
        # As it may be sent again: neither a second condition nor another value.
        assert 'value="comment=50%25%26more"' in client.get(_VOLUMES, query_string={"comment": "50%&more"}).text

    @pytest.mark.parametrize("text", ["nonsense", "no_such_field=1", "size_used=>x", "="])
    def test_an_invalid_filter_is_reported_at_the_field(self, client, filled, text):
        answer = client.get(_VOLUMES, query_string={"filter": text})
        assert answer.status_code == 422
        hint = re.search(r'id="filter-hint" class="error">([^<]+)<', answer.text)
        assert hint
        assert "aria-invalid" in answer.text

    def test_a_download_has_the_chosen_columns(self, client, filled):
        assert client.get(f"{_VOLUMES}.csv?q=db01&columns=name&columns=state").text.splitlines() == [
            "name,state", "db01,online",
        ]  # fmt: skip

    def test_a_download_without_rows_has_the_head_alone(self, client, filled):
        nothing = f"{_VOLUMES}.csv?q=none-such"
        assert client.get(f"{nothing}&columns=state&columns=name").text.splitlines() == ["state,name"]
        assert set(client.get(nothing).text.strip().split(",")) == set(client.get(f"{_VOLUMES}.json").json[0])
        assert client.get(f"{_VOLUMES}.json?q=db01&columns=name").json == [{"name": "db01"}]

    def test_an_incomplete_download_is_not_served_as_complete(self, client, filled, monkeypatch):
        from api.console import api_client, volume_table

        monkeypatch.setattr(volume_table, "_DOWNLOAD_ROWS", 4)
        whole = client.get(f"{_VOLUMES}.json").json
        assert len(whole) == 13
        original, pages = api_client.call, []

        def cut(*args: Any, **options: Any) -> Any:
            pages.append(args)
            return original("GET", "/v4/none/volumes") if len(pages) == 3 else original(*args, **options)

        monkeypatch.setattr(volume_table, "call", cut)
        with pytest.raises(Problem, match="downloaded"):
            assert client.get(f"{_VOLUMES}.json").data

    def test_a_page_reads_from_the_storage_system_unless_it_reloads_itself(self, front_end, client, filled, no_wait):
        def reads() -> int:
            return len(client.get("/v4/jobs?operation=list_volumes").json)

        before = reads()
        front_end.services.redis.delete(*front_end.services.redis.keys("sapi:listing:*"))
        for page in (_VOLUMES, f"{_VOLUMES}?refresh=1"):
            assert client.get(page, headers={"X-Console-Update": "1"}).status_code == 504
        assert reads() == before
        assert client.get(_VOLUMES).status_code == 202
        assert reads() == before + 1

    @pytest.mark.parametrize("number", ["0²", "٣", "-1", "1e3", "9" * 99, ""])
    def test_an_invalid_page_number_is_the_first_page(self, client, filled, number):
        page = client.get(_VOLUMES, query_string={"page": number})
        assert (page.status_code, "1 to 13 of 13" in page.text) == (200, True)


class TestCapacity:
    def test_capacity_is_computed_again_only_when_the_listing_has_changed(self, client, worker, filled, monkeypatch):
        from api.console.capacity import Capacity

        counted: list[int] = []
        original = Capacity.of

        def count(rows: Any) -> Capacity:
            counted.append(len(rows))
            return original(rows)

        monkeypatch.setattr(Capacity, "of", count)
        pages = [client.get("/console/filer/capacity").text for _ in range(3)]
        assert "13 volumes" in unescape(pages[-1]).replace("\N{NARROW NO-BREAK SPACE}", " ")
        assert counted == [13]
        worker.carry_out(accepted(client.post("/v4/filer/volumes/more1", json={"size_total": 2**30})))
        assert "14 volumes" in client.get("/console/filer/capacity").text

    def test_without_a_cached_listing_there_is_no_capacity(self, client, front_end, filled):
        assert "13" in client.get("/console/filer/capacity").text
        front_end.services.redis.delete(*front_end.services.redis.keys("sapi:listing:*"))
        assert "No listing is cached" in client.get("/console/").text
        assert client.get("/console/filer/capacity").status_code == 202

    def test_the_capacity_of_each_storage_system_is_cached_by_itself(self, client, monkeypatch):
        asked: list[str] = []

        def answer(_method: str, path: str, *, headers: dict[str, str], **_: Any) -> ApiResponse:
            asked.append(headers.get("If-None-Match", ""))
            tag, size = f'"{path}"', len(path)
            is_known = asked[-1] == tag
            rows = [] if is_known else [{"name": "v", "size_total": 100, "size_used": size}]
            return ApiResponse(304 if is_known else 200, Headers({"ETag": tag, "Age": "7"}), rows)

        monkeypatch.setattr("api.console.capacity.call", answer)
        with client.application.app_context():
            client.application.extensions.pop("storage-api-console-capacity", None)
            systems = ["filer", "other1"]
            found = [cached_capacity(system) for system in systems * 2]
        paths = [f"/v4/{system}/volumes" for system in systems]
        assert asked == ["", "", *(f'"{path}"' for path in paths)]
        assert [(one.capacity.used, one.age_s) for one in found if one] == [(len(path), 7) for path in paths] * 2

    def test_volumes_of_an_unknown_aggregate_are_linked(self, client, filled, monkeypatch):
        from api.console.capacity import Capacity

        original = Capacity.of
        monkeypatch.setattr(Capacity, "of", lambda rows: original([{**row, "aggregate_name": None} for row in rows]))
        page = client.get("/console/filer/capacity").text
        assert re.findall(r'\?aggregate_name=([^&]*)&amp;sort=-size_used">([^<]*)<', page) == [("null", "–")]
