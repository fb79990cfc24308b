"""Which clusters are chosen next."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from suite.quant.partition import over_network, per_layer

two_layers = st.lists(st.tuples(*[st.lists(st.floats(-5, 5), min_size=4, max_size=4)] * 2), min_size=1, max_size=1)


def test_per_layer_takes_the_highest_open_scores_of_each_layer() -> None:
    scores = {"a": torch.tensor([1.0, 9.0, 5.0, 7.0]), "b": torch.tensor([4.0, 3.0, 2.0, 1.0])}
    fixed = {"a": torch.tensor([False, True, False, False]), "b": torch.zeros(4, dtype=torch.bool)}
    chosen = per_layer(scores, fixed, 2)
    assert chosen["a"].tolist() == [False, False, False, True]
    assert chosen["b"].tolist() == [True, True, False, False]


def test_over_network_compares_all_layers() -> None:
    scores = {"a": torch.tensor([9.0, 8.0, 7.0, 0.0]), "b": torch.tensor([1.0, 2.0, 3.0, 4.0])}
    fixed = {name: torch.zeros(4, dtype=torch.bool) for name in scores}
    chosen = over_network(scores, fixed, 2)
    assert chosen["a"].tolist() == [True, True, True, False]
    assert chosen["b"].tolist() == [False, False, False, True]


def test_a_tie_is_won_by_the_first_cluster() -> None:
    none = {"a": torch.zeros(3, dtype=torch.bool)}
    assert per_layer({"a": torch.zeros(3)}, none, 1)["a"].tolist() == [True, False, False]


@given(two_layers, st.lists(st.integers(1, 4), min_size=1, max_size=4, unique=True))
def test_a_schedule_that_ends_with_all_fixes_every_cluster_exactly_once(lists, schedule) -> None:
    scores = dict(zip("ab", (torch.tensor(v, dtype=torch.float64) for v in lists[0]), strict=True))
    for choose in (per_layer, over_network):
        fixed = {name: torch.zeros(4, dtype=torch.bool) for name in scores}
        for done in [*sorted(set(schedule) - {4}), 4]:
            chosen = choose(scores, fixed, done)
            assert not any((chosen[name] & fixed[name]).any() for name in scores)
            fixed = {name: fixed[name] | chosen[name] for name in scores}
            assert sum(int(mask.sum()) for mask in fixed.values()) == 2 * done
        assert all(mask.all() for mask in fixed.values())
