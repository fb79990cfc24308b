"""Work that threads share: the same results as without them, in forks and from several threads too."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from suite.compiled import shared


@pytest.fixture(params=[1, 2, 5], autouse=True)
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def spans(count: int) -> list[tuple[int, int]]:
    return shared(lambda first, last: (first, last), count)


@pytest.mark.parametrize("count", [0, 1, 3, 1000])
def test_the_parts_follow_each_other_and_are_as_many_as_threads(count: int, threads: int) -> None:
    parts = spans(count)
    assert len(parts) == max(1, min(threads, count))
    assert [number for first, last in parts for number in range(first, last)] == list(range(count))


@pytest.mark.parametrize("wrong", [0, 999])
def test_an_error_in_any_part_is_raised_when_all_have_ended_and_the_next_work_goes_on(wrong: int) -> None:
    began, ended = [], []

    def fail(first: int, last: int) -> None:
        if first <= wrong < last:
            raise ValueError(wrong)
        began.append(first)
        time.sleep(0.2)
        ended.append(first)

    with pytest.raises(ValueError, match=str(wrong)):
        shared(fail, 1000)
    count = len(began)
    assert sorted(began) == sorted(ended)
    time.sleep(0.1)
    assert len(began) == count, "a part began after the error was raised"
    assert spans(10)[-1][1] == 10


def test_several_threads_share_work_at_once() -> None:
    with ThreadPoolExecutor(8) as callers:
        assert all(parts == spans(1000) for parts in callers.map(spans, [1000] * 100))


def test_a_fork_has_threads_of_its_own() -> None:
    expected = spans(1000)
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # ends a child that waits for threads which it has not
        os._exit(0 if spans(1000) == expected else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
