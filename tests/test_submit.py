"""Submitting to Slurm: chunks, texts, and whatever may happen around a call of sbatch; on a fake Slurm."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suite.config import Trial
from suite.launch.site import Site
from suite.launch.site_check import ArrayLimits
from suite.launch.slurm import FEWEST, ArrayTask, Chunk, cut
from suite.launch.submission import Submission
from suite.ledger import Ledger
from tests.conftest import SHORT

MakeTrial = Callable[..., Trial]
MOST = 150


@cache
def trial(seed: int) -> Trial:
    return Trial.model_validate({**SHORT, "method": {"name": "kmeans", "bits": 3}, "seed": seed})


def trials(count: int) -> list[Trial]:
    return [trial(seed) for seed in range(count)]


# Cutting


counts = st.integers(1, MOST)
sizes = st.integers(1, 40)
caps = st.none() | st.integers(1, 2 * MOST)
work = st.none() | st.floats(0, 1e6)


@given(counts, work, sizes, caps, caps, st.integers(1, 240))
def test_every_trial_is_in_one_chunk_and_every_chunk_is_allowed(
    count: int, seconds: float | None, size: int, submit: int | None, parallel: int | None, minutes: int
) -> None:
    site = Site(max_parallel=parallel, task_minutes=minutes, time="1-00:00:00")
    chunks = cut(trials(count), seconds, site, ArrayLimits(size, submit))
    assert Counter(trial.id for chunk in chunks for trial in chunk.trials) == Counter(t.id for t in trials(count))
    for chunk in chunks:
        assert 1 <= chunk.tasks <= min(size, len(chunk.trials)), "no larger than an array may be, no task without a trial"
        assert 1 <= chunk.parallel <= chunk.tasks
    assert sum(chunk.tasks for chunk in chunks) <= (submit or count)
    if parallel is not None:
        assert sum(chunk.parallel for chunk in chunks) <= parallel, "the limit is that of the whole sweep"
    for part in ("tasks", "parallel"):
        values = [getattr(chunk, part) for chunk in chunks]
        assert max(values) - min(values) <= 1, f"{part} are dealt out evenly"


@given(counts, sizes)
def test_trials_of_unknown_length_have_a_task_each(count: int, size: int) -> None:
    chunks = cut(trials(count), None, Site(), ArrayLimits(size, None))
    assert sum(chunk.tasks for chunk in chunks) == count
    assert len(chunks) == math.ceil(count / size)


@given(counts, st.floats(0, 1e5), st.integers(1, 240))
def test_short_trials_share_tasks_of_the_wanted_length(count: int, seconds: float, minutes: int) -> None:
    site = Site(task_minutes=minutes, time="1-00:00:00")
    (chunk,) = cut(trials(count), seconds, site, ArrayLimits(1001, None))
    tasks = max(math.ceil(seconds / (60 * minutes)), FEWEST)
    assert chunk.tasks == min(tasks, count)


def test_makers_of_baselines_which_come_first_are_first_in_every_chunk() -> None:
    chunks = cut(trials(40), None, Site(), ArrayLimits(11, None))
    assert [[trial.seed for trial in chunk.trials[:2]] for chunk in chunks] == [[0, 4], [1, 5], [2, 6], [3, 7]]
    assert [(chunk.tasks, chunk.parallel) for chunk in chunks] == [(10, 10)] * 4


def test_the_limit_of_tasks_at_once_is_split_over_the_chunks() -> None:
    chunks = cut(trials(40), None, Site(max_parallel=6), ArrayLimits(11, None))
    assert [(chunk.tasks, chunk.parallel) for chunk in chunks] == [(10, 2), (10, 2), (10, 1), (10, 1)]


def test_a_limit_below_the_number_of_chunks_makes_fewer_chunks() -> None:
    chunks = cut(trials(40), None, Site(max_parallel=2), ArrayLimits(11, None))
    assert [(len(chunk.trials), chunk.tasks, chunk.parallel) for chunk in chunks] == [(20, 11, 1), (20, 11, 1)]
