"""What running compressed costs: memory that the network keeps, and time for an answer, against full precision.

python benchmarks/running.py

Each network has 32 values a layer (5-bit codes, kept as a byte each). "Full" is the decoded network, "compressed" keeps codes and
decodes each layer's weights whenever it is used; both give the same answers, which is checked. Memory is that of all
parameters and buffers; beside it stands the largest layer, which compressed networks decode and drop again. Minima over rounds
that alternate, one image or 64 at a time, one thread.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from suite.nets import build_network, quantizable
from suite.pack import load_compressed, load_network, pack

CASES = [("lenet5-caffe", 1, 28, 10), ("resnet20", 3, 32, 10), ("alexnet", 3, 224, 1000)]
BATCHES = (1, 64)
VALUES = 32
ROUNDS, LONGEST = 40, 8.0  # rounds, and seconds for all of a case and batch


def quantize(model: nn.Module) -> None:
    """To multiples of a step, of which the outermost take what is beyond: about as many values as asked for."""
    for weight in quantizable(model).values():
        step = 6 * float(weight.detach().std()) / VALUES
        weight.data.copy_((weight.detach() / step).round().clamp(-VALUES // 2, VALUES // 2 - 1) * step)


def held(model: nn.Module) -> int:
    """Bytes of parameters and buffers."""
    return sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))


def fastest(models: list[nn.Module], images: torch.Tensor) -> list[float]:
    """Milliseconds of one answer, by each."""
    found, start = [float("inf")] * len(models), time.perf_counter()
    for _ in range(ROUNDS):
        for number, model in enumerate(models):
            found[number] = min(found[number], timed(lambda model=model: model(images)))
        if time.perf_counter() - start > LONGEST:
            break
    return [1000 * seconds for seconds in found]


def timed(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


@torch.inference_mode()
def main() -> None:
    torch.set_num_threads(1)
    print(
        "| network | kept, full, MB | kept, compressed, MB | file, MB | largest layer, MB "
        "| images at a time | full, ms | compressed, ms | times |"
    )
    print("|:--|--:|--:|--:|--:|--:|--:|--:|--:|")
    for name, channels, size, classes in CASES:
        full, compressed = (build_network(name, channels, size, classes, seed=0).eval() for _ in range(2))
        quantize(full)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "m.slq"
            pack(full.state_dict(), file, coder="fixed")
            load_network(file, full)
            load_compressed(file, compressed)
            packed = file.stat().st_size
        largest = max(weight.nbytes for weight in quantizable(full).values())
        sizes = [number / 1e6 for number in (held(full), held(compressed), packed, largest)]
        for batch in BATCHES:
            images = torch.randn(batch, channels, size, size)
            assert torch.equal(full(images), compressed(images))
            times = fastest([full, compressed], images)
            cells = [*(f"{number:.2f}" for number in sizes), str(batch), *(f"{ms:.2f}" for ms in times)]
            print(f"| {name} | {' | '.join(cells)} | {times[1] / times[0]:.2f} |", flush=True)


if __name__ == "__main__":
    main()
