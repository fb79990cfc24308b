"""Stage 0 of SLQ over AlexNet (61 M weights, 5 bits): cluster, choose, snap, freeze; beside it a torch script as people write it.

python benchmarks/cluster_alexnet.py [--cuda]    under a minute; --cuda: on the GPU as well
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from suite.quant.init import codebook_size, first_centres
from suite.quant.layer import Layer
from suite.quant.partition import per_layer

SHAPES = {
    "conv1": (64, 3, 11, 11),
    "conv2": (192, 64, 5, 5),
    "conv3": (384, 192, 3, 3),
    "conv4": (256, 384, 3, 3),
    "conv5": (256, 256, 3, 3),
    "fc6": (4096, 9216),
    "fc7": (4096, 4096),
    "fc8": (1000, 4096),
}
K, FIRST, ROUNDS = codebook_size(5), 5, 10


def weights(device: str) -> dict[str, Tensor]:
    """Heavy-tailed weights, Student's t with five degrees of freedom, of He's standard deviation."""
    made = {}
    for number, (name, shape) in enumerate(SHAPES.items()):
        random = np.random.default_rng(number)
        scale = (2 / np.prod(shape[1:])) ** 0.5
        values = random.standard_normal(shape, dtype=np.float32)
        values /= np.sqrt(random.standard_gamma(2.5, shape, dtype=np.float32) / np.float32(2.5))
        made[name] = torch.from_numpy(values * np.float32(scale)).to(device)
    return made


def ours(parameters: dict[str, Tensor]) -> dict[str, Layer]:
    """What `SLQ.quantize` does in its first stage with partition `magnitude`."""
    layers = {name: Layer.untouched(weight) for name, weight in parameters.items()}
    for layer in layers.values():
        layer.start(first_centres("ladder", layer.values(), K, torch.Generator()))
        movable = torch.ones(K, dtype=torch.bool)
        movable[0] = False
        layer.recluster(movable, ROUNDS)
    scores = {name: -torch.arange(K, dtype=torch.float64) for name in layers}
    chosen = per_layer(scores, {name: layer.fixed for name, layer in layers.items()}, FIRST)
    for name, layer in layers.items():
        layer.fix(chosen[name])
    return layers


def script(parameters: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same with torch's bucketize and bincount; float64 sums."""
    masks = {}
    for name, weight in parameters.items():
        m = 2.0 ** weight.abs().max().log2().floor().item()
        centres = torch.tensor(
            [0.0, *(sign * m / 2**j for j in range(K // 2) for sign in (1, -1))], device=weight.device
        )
        flat = weight.flatten()
        for _ in range(ROUNDS):
            ascending, order = centres.sort()
            codes = order[torch.bucketize(flat, (ascending[1:] + ascending[:-1]) / 2)]
            counts = torch.bincount(codes, minlength=K)
            sums = torch.bincount(codes, weights=flat.double(), minlength=K)
            moved = torch.where(counts > 0, sums / counts.clamp(min=1), centres.double()).float()
            moved[0] = 0.0
            centres = moved
        masks[name] = (codes < FIRST).view(weight.shape)
        weight.copy_(torch.where(masks[name], centres[codes].view(weight.shape), weight))
    return masks


def timed(action: Callable[[dict[str, Tensor]], object], device: str, repeats: int) -> float:
    """The least of some runs, in seconds, each on fresh copies of the same weights."""
    original, best = weights(device), float("inf")
    for _ in range(repeats):
        parameters = {name: weight.clone() for name, weight in original.items()}
        if device == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        action(parameters)
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return best


def same() -> float:
    """Share of the snapped weights that the script and the suite leave equal to six digits."""
    mine, theirs = weights("cpu"), weights("cpu")
    ours(mine)
    script(theirs)
    close = [torch.isclose(mine[name], theirs[name], rtol=1e-6, atol=0).sum().item() for name in mine]
    return sum(close) / sum(weight.numel() for weight in mine.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cuda", action="store_true", help="measure on the GPU, too")
    cuda = parser.parse_args().cuda
    if cuda and not torch.cuda.is_available():
        raise SystemExit("--cuda: there is no CUDA device here")
    print(f"{torch.get_num_threads()} threads; weights equal to those of the script: {same():.5%}\n")
    print("| AlexNet, stage 0 of SLQ, 5 bits | torch script, s | suite, s | ratio |")
    print("|:--|--:|--:|--:|")
    for device in ["cpu", "cuda"] if cuda else ["cpu"]:
        theirs, mine = timed(script, device, 2), timed(ours, device, 5)
        print(f"| {device} | {theirs:.3f} | {mine:.3f} | {theirs / mine:.1f} |")


if __name__ == "__main__":
    main()
