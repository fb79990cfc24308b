"""Tables that are there: which trials they are known to rest on, and when they stay."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from suite.report.written import LargerTableError, keep_larger


def states(done: Iterable[str], new: Iterable[str] = ()) -> dict[str, str]:
    return {**dict.fromkeys(done, "done"), **dict.fromkeys(new, "new")}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """12 trials in three lines: four done, three of four done, one of four done; and a cell that nothing stands for."""
    path = tmp_path / "x.csv"
    path.write_text("done,trials\n4,a1 a2 a3 a4\n3,b1 b2 b3 b4\n1,c1 c2 c3 c4\n0,\n")
    return path


A, B, C = (tuple(f"{row}{number}" for number in range(1, 5)) for row in "abc")


@pytest.mark.parametrize(
    ("trials", "rests_on"),
    [
        (states(A[:3], [*A[3:], *B, *C]), 8),
        (states(A[:1], A[1:2]), 2),  # two seeds of four are left in the sweep, and are known to be done
        (states((), B[:2]), 1),  # of three of four done at least one is among any two
        (states(["new"], [*A, *B[:3]]), 6),
    ],
)
def test_a_table_stays_that_rests_on_more_of_what_is_planned(file: Path, trials: dict[str, str], rests_on: int) -> None:
    done = list(trials.values()).count("done")
    told = f"x.csv rests on {rests_on} trials, more than the {done} that are done in this ledger, of those planned now; nothing"
    with pytest.raises(LargerTableError, match=told):
        keep_larger(file, trials)


@pytest.mark.parametrize(
    "trials",
    [
        states([f"n{number}" for number in range(7)], ["n7"]),  # all settings were edited
        states([*A, *B]),  # a part of the sweep was removed, what is left is done
        states((), C[:3]),  # the one that was done may be the one that is gone
        states([*A, *B[:3], C[0]], [B[3], *C[1:]]),  # as many
        {},
    ],
)
def test_a_table_of_trials_that_are_not_planned_any_more_is_replaced(file: Path, trials: dict[str, str]) -> None:
    keep_larger(file, trials)


def test_trials_of_several_cells_count_once(tmp_path: Path) -> None:
    path = tmp_path / "spec.csv"
    path.write_text("metric,done,trials\nerror,2,s/a s/b\ndelta,2,s/a s/b\nratio,3,s/a s/b s/c\n")
    keep_larger(path, states(["s/a", "s/b", "s/c"]))
    with pytest.raises(LargerTableError, match="rests on 3 trials, more than the 2"):
        keep_larger(path, states(["s/a", "s/b"], ["s/c"]))
