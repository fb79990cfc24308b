"""SLQ's partition rules and MLQ's layer order, on losses that are known beforehand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from suite.methods import MLQ, SLQ, KMeans
from suite.methods.base import Net
from suite.quant.layer import Layer


def make_net(loss: Callable[[dict[str, Layer]], float], count: int = 2, seed: int = 0) -> Net:
    random = torch.Generator().manual_seed(7)
    layers = {f"layer{i}": Layer.untouched(torch.randn(400, generator=random)) for i in range(count)}
    return Net(layers, lambda: loss(layers), seed=seed)


def squared_change(weight_of: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[dict[str, Layer]], float]:
    """A loss that grows with the squared change of the weights, each weighted by `weight_of(its original value)`."""
    originals: dict[str, torch.Tensor] = {}

    def loss(layers: dict[str, Layer]) -> float:
        for name, layer in layers.items():
            originals.setdefault(name, layer.weight.clone())
        changes = [
            (weight_of(originals[n]) * (layer.weight - originals[n]).square()).sum() for n, layer in layers.items()
        ]
        return float(torch.stack(changes).sum())

    return loss


def first_chosen(partition: str, loss: Callable[[dict[str, Layer]], float], **options: object) -> list[float]:
    """Centres of the clusters that SLQ at 4 bits fixes first in its first layer."""
    net = make_net(loss)
    slq = SLQ.model_validate({"bits": 4, "schedule": [2, 9], "partition": partition, **options})
    slq.quantize(0, net)
    layer = net.layers["layer0"]
    return layer.codebook[layer.fixed].tolist()


def test_loss_rule_takes_what_hurts_most_and_reverse_what_hurts_least() -> None:
    only_large = squared_change(lambda w: (w.abs() > 1).float())
    assert min(abs(c) for c in first_chosen("loss", only_large)) > 0.6
    assert max(abs(c) for c in first_chosen("reverse", only_large)) < 1
    only_small = squared_change(lambda w: (w.abs() < 0.15).float())
    assert 0.0 in first_chosen("loss", only_small)
    assert 0.0 not in first_chosen("loss", only_large)


def test_magnitude_rule_takes_zero_then_the_largest() -> None:
    chosen = first_chosen("magnitude", lambda layers: 0.0)
    assert chosen[0] == 0
    assert chosen[1] > 1


def test_measuring_leaves_the_weights_alone() -> None:
    net = make_net(squared_change(torch.ones_like))
    before = {name: layer.weight.clone() for name, layer in net.layers.items()}
    SLQ(bits=4, schedule=(1, 9)).quantize(0, net)
    for name, layer in net.layers.items():
        assert torch.equal(layer.weight[~layer.frozen], before[name][~layer.frozen])


def test_random_rule_follows_the_seed() -> None:
    def chosen(seed: int) -> list[int]:
        net = make_net(lambda layers: 0.0, seed=seed)
        SLQ(bits=5, partition="random").quantize(0, net)
        return net.layers["layer0"].fixed.nonzero().flatten().tolist()

    assert chosen(1) == chosen(1)
    assert len({tuple(chosen(seed)) for seed in range(8)}) > 1


def test_scope_network_may_take_all_from_one_layer() -> None:
    def loss(layers: dict[str, Layer]) -> float:
        return float((layers["layer1"].weight - original).square().sum())

    net = make_net(loss)
    original = net.layers["layer1"].weight.clone()
    SLQ(bits=3, schedule=(2, 5), scope="network").quantize(0, net)
    assert (int(net.layers["layer0"].fixed.sum()), int(net.layers["layer1"].fixed.sum())) == (0, 4)


@pytest.mark.parametrize(("order", "expected"), [("forward", "0123"), ("backward", "3210"), ("loss", "2301")])
def test_mlq_takes_its_layers_in_order(order: str, expected: str) -> None:
    weights = {"layer0": 2.0, "layer1": 1.0, "layer2": 9.0, "layer3": 4.0}
    originals: dict[str, torch.Tensor] = {}

    def loss(layers: dict[str, Layer]) -> float:
        for name, layer in layers.items():
            originals.setdefault(name, layer.weight.clone())
        return sum(float(weights[n] * (layer.weight - originals[n]).square().sum()) for n, layer in layers.items())

    net = make_net(loss, count=4)
    loss(net.layers)
    mlq = MLQ.model_validate({"bits": 2, "order": order})
    frozen = []
    for stage in range(mlq.stages(4)):
        mlq.quantize(stage, net)
        frozen += [name for name, layer in net.layers.items() if layer.frozen.all() and name not in frozen]
    assert "".join(name[-1] for name in frozen) == expected


def test_mlq_states_are_those_of_the_released_traces() -> None:
    net = make_net(lambda layers: 0.0, count=1)
    layer, mlq = net.layers["layer0"], MLQ(bits=2)
    mlq.quantize(0, net)
    outer = layer.codebook[layer.fixed]
    assert len(outer) == 2  # the two outer clusters are fixed ...
    assert outer.abs().min() > layer.codebook[~layer.fixed].abs().max()
    assert set(layer.weight[layer.frozen].double().tolist()) == set(outer.tolist())
    free = ~layer.frozen
    assert 0 < int(free.sum()) < 400
    layer.weight[free] += 0.3  # ... the rest is re-trained ...
    mlq.quantize(1, net)
    assert layer.frozen.all()  # ... and with all three centres free, everything is fixed
    assert len(layer.weight.unique()) == 3
    assert set(outer.tolist()) - set(
        layer.codebook.tolist()
    )  # a centre next to which weights have drifted has moved, too


@pytest.mark.parametrize(
    ("layers", "groups", "sizes"), [(5, 2, [3, 2]), (5, 5, [1] * 5), (7, 3, [3, 2, 2]), (4, None, [1] * 4)]
)
def test_mlq_groups_are_as_equal_as_they_can_be(layers: int, groups: int | None, sizes: list[int]) -> None:
    net, mlq = make_net(lambda _: 0.0, count=layers), MLQ(bits=2, groups=groups)
    found = [mlq.quantize(stage, net)["layers"] for stage in range(mlq.stages(layers))]
    assert [len(names) for names in found[::2]] == sizes
    assert [name for names in found[::2] for name in names] == list(net.layers)


def test_outer_clusters_are_the_extremes_even_if_one_is_small() -> None:
    weights = torch.cat([torch.full((50,), -2.0), torch.full((50,), -1.0), torch.full((50,), 0.1)])
    net = Net({"a": Layer.untouched(weights)}, loss=lambda: 0.0, seed=0)
    MLQ(bits=2, init="quantile", rounds=100).quantize(0, net)
    layer = net.layers["a"]
    assert sorted(layer.codebook[layer.fixed].tolist()) == pytest.approx([-2.0, 0.1])


def test_judging_layers_leaves_their_centres_where_they_start() -> None:
    forward, by_loss = make_net(lambda layers: 0.0, count=3), make_net(lambda layers: 0.0, count=3)
    MLQ(bits=2, order="forward", rounds=1).quantize(0, forward)
    MLQ(bits=2, order="loss", rounds=1).quantize(0, by_loss)
    for name in forward.layers:  # equal losses: the same order
        assert torch.equal(forward.layers[name].codebook, by_loss.layers[name].codebook)


def test_without_compensation_all_layers_go_together() -> None:
    net, mlq = make_net(lambda layers: 0.0, count=3), MLQ(bits=2, compensation=False)
    assert mlq.stages(3) == 2
    assert mlq.quantize(0, net)["layers"] == ["layer0", "layer1", "layer2"]


def test_plain_kmeans_runs_until_nothing_moves() -> None:
    net = make_net(lambda layers: 0.0, count=1)
    layer = net.layers["layer0"]
    weights = layer.weight.clone()
    KMeans(bits=4).quantize(0, net)
    for cluster, centre in enumerate(layer.codebook):
        assert weights[layer.codes == cluster].double().mean() == pytest.approx(float(centre), abs=1e-6)
    assert torch.equal((weights.double()[:, None] - layer.codebook).abs().argmin(1), layer.codes.long())
