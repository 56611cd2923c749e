"""Members of the file of a batch, by the operation's name: what their arguments may be."""

from __future__ import annotations

import inspect

import pytest

from storage_api_client.operations.batch_files import OPERATIONS, OrderError, from_rows, order_of


@pytest.mark.parametrize("name", OPERATIONS)
def test_null_is_left_out(name: str) -> None:
    parameters = inspect.signature(OPERATIONS[name]).parameters.values()
    needed = {each.name: each.name for each in parameters if each.default is each.empty and each.name != "settings"}
    member = {"operation": name, **needed} | ({"comment": "c"} if name == "update_volume" else {})
    others = {each.name: None for each in parameters if each.name not in needed}
    others.pop("settings", None)
    assert order_of([member | others | {"subsystem": "s"}]) == order_of([member | {"subsystem": "s"}])


@pytest.mark.parametrize("word", ["to", "from_snapshot"])
def test_a_roll_back_may_be_written_as_the_package_or_as_the_service_has_it(word: str) -> None:
    member = {"operation": "roll_back_volume", "subsystem": "s", "volume": "v", word: "pre"}
    assert order_of([member])["requests"] == [
        {"method": "POST", "path": "/v4/s/volumes/v", "body": {"from_snapshot": "pre"}}
    ]


def test_a_superscript_digit_is_no_size() -> None:
    with pytest.raises(OrderError, match=r"Request 0: '²' is no size"):
        from_rows([{"operation": "create_volume", "subsystem": "s", "volume": "v", "size_total": "²"}])
