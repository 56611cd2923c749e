"""No part of a request costs more than in proportion to its size. Counted; `tests.benchmarks.growth` takes times."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from api.reads.filter_expressions import compile_expression
from api.v3.settings import EXTENSION as V3
from tests.api.front_end import FrontEnd
from tests.api.growing_inputs import INPUTS, UNLIMITED
from tests.api.work import work_of

if TYPE_CHECKING:
    from redis import Redis

#: What is in proportion grows by ten at most; what is quadratic by a hundred.
_MOST = 20


@pytest.fixture(scope="module")
def unlimited(redis_url: str) -> FrontEnd:
    made = FrontEnd(redis_url, **UNLIMITED)
    app = made.app()
    changed = app.extensions[V3].settings.model_copy(update={"v3_wait": 0.01})
    app.extensions[V3] = replace(app.extensions[V3], settings=changed)
    return made


@pytest.mark.parametrize("what", INPUTS)
def test_cost_grows_linearly(unlimited: FrontEnd, redis_client: Redis, what: str) -> None:
    size, make = INPUTS[what]
    client = unlimited.client()
    small, large = make(client, size), make(client, 10 * size)
    small()  # What is made once is made.
    ratio = work_of(large) / work_of(small)
    assert ratio < _MOST, what


@pytest.mark.parametrize("text", ["*a" * 45 + "*b", "*" * 99, "a*" * 49 + "|" + "*b" * 49])
def test_the_cost_of_a_filter_does_not_grow_with_its_value(text: str) -> None:
    fits = compile_expression(text, str)
    assert work_of(lambda: fits("a" * 20_000)) <= 2 * work_of(lambda: fits("a" * 2_000))


def _pairs(names: list[str]) -> int:
    return sum(1 for name in names for other in names if name is other)


@pytest.mark.parametrize("quadratic", [_pairs, lambda names: [names.count(name) for name in names]])
def test_quadratic_cost_is_detected(quadratic: Callable[[list[str]], Any]) -> None:
    small, large = ["x"] * 50, ["x"] * 500
    assert work_of(lambda: quadratic(large)) / work_of(lambda: quadratic(small)) > 3 * _MOST
