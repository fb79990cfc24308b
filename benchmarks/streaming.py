"""What `slq pack`, `verify` and `unpack` take for a network of VGG-16's size: peak memory and time, each in a process of its own.

python benchmarks/streaming.py

The network: 138 million float32 weights in the shapes of VGG-16, 32 distinct values in each layer, spaced and used as a normal
distribution has it. Its file, 553 MB, is made in a temporary folder and deleted. Peak memory is VmHWM of Linux: the largest
resident set, pages of mapped files included.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import torch

CONVOLUTIONS = (3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)  # channels
SHAPES = {f"features.{i}.weight": (rows, columns, 3, 3) for i, (columns, rows) in enumerate(pairwise(CONVOLUTIONS))}
SHAPES |= {
    "classifier.0.weight": (4096, 25088),
    "classifier.3.weight": (4096, 4096),
    "classifier.6.weight": (1000, 4096),
}
VALUES = 32
# Runs the command; without arguments it shows what starting takes.
MEASURED = """
import atexit, sys, torch
from suite.cli import main
peak = lambda: next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
atexit.register(lambda: print(peak(), file=sys.stderr))
if sys.argv[1:]:
    main()
"""


def make(path: Path) -> int:
    """Write the network; returns bytes of its largest tensor."""
    from suite.pack.streamed import Facts, write_each

    rng = torch.Generator().manual_seed(0)

    def tensor_of(name: str) -> torch.Tensor:
        values = torch.randn(VALUES, generator=rng).sort().values
        weights = torch.empty(SHAPES[name])
        for row in weights.view(weights.shape[0], -1):
            codes = torch.randn(row.shape, generator=rng).mul_(VALUES / 8).add_(VALUES / 2).clamp_(0, VALUES - 1)
            row.copy_(values[codes.int()])
        return weights

    facts = [Facts(name, torch.float32, shape) for name, shape in SHAPES.items()]
    with path.open("wb") as file:
        write_each(file, facts, tensor_of, {})
    return max(one.size for one in facts)


def measured(*command: str | Path) -> tuple[float, float]:
    """Seconds that `slq` with these arguments takes, and MB that are resident at most."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", MEASURED, *command], capture_output=True, check=True)
    return time.perf_counter() - start, int(done.stderr.split()[-1]) * 1024 / 1e6


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        source, packed, again = (Path(folder) / name for name in ("vgg.safetensors", "vgg.slq", "again.safetensors"))
        largest = make(source)
        _, start = measured()
        commands = [("pack", source, packed), ("verify", packed, "--against", source), ("unpack", packed, again)]
        rows = [(command[0], *measured(*command)) for command in commands]
        network = source.stat().st_size / 1e6
        print(
            f"The network takes {network:.0f} MB, its largest layer {largest / 1e6:.0f} MB, the packed file "
            f"{packed.stat().st_size / 1e6:.1f} MB. Python and torch alone: {start:.0f} MB.\n"
        )
        print("| command | seconds | peak memory, MB | of these above the start | network and one layer |")
        print("|:--|--:|--:|--:|--:|")
        for what, seconds, peak in rows:
            print(f"| `slq {what}` | {seconds:.1f} | {peak:.0f} | {peak - start:.0f} | {network + largest / 1e6:.0f} |")


if __name__ == "__main__":
    main()
