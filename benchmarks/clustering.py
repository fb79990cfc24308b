"""Clustering in one dimension: `suite.quant.kmeans1d` and SLQ's Lloyd rounds beside what people would otherwise use.

python benchmarks/clustering.py [--quick] [--cuda] [--peers FOLDER] [--limit SECONDS]

Each measurement is a process of its own, with as many threads as torch takes; a peer's is cut off after 60 s, or as many as are
asked for. Weights: normal times exponential, seeded. The reference of the distortion is dynamic programming on 2^22 bins that NumPy
makes of the float's bits.
FOLDER: made by `pip install --target FOLDER --no-deps faiss-cpu kmeans1d flash1dkmeans ckwrap`; what is absent is named.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from suite.quant import kmeans1d
from suite.quant.counted import lloyd_on_bins
from suite.quant.exact import Points, near_least_error, settled
from suite.quant.init import ladder
from suite.quant.lloyd import Sorted

SIZES = (2_359_296, 37_748_736, 102_760_448)  # the largest layers of ResNet-18, AlexNet and VGG-16
CLUSTERS = (3, 17, 32, 256)
LIMIT = 60  # seconds for a peer's process, unless others are asked for
Centres = NDArray[np.float64]


def drawn(n: int) -> NDArray[np.float32]:
    random = np.random.default_rng(n)
    values = random.standard_normal(n, dtype=np.float32)
    values *= random.standard_exponential(n, dtype=np.float32)
    values *= np.float32(0.02)
    return values


def distortion(values: NDArray[np.float32], centres: Centres) -> float:
    """Sum of squared distances to the nearest centre."""
    ascending = torch.from_numpy(np.unique(centres))
    bounds, total = (ascending[1:] + ascending[:-1]) / 2, 0.0
    for part in torch.split(torch.from_numpy(values), 2**22):
        exact = part.double()
        total += float((exact - ascending[torch.bucketize(exact, bounds)]).square_().sum())
    return total


def reference(values: NDArray[np.float32], k: int) -> float:
    """Distortion of the centres found on 2^22 bins; their sums are NumPy's, not the suite's."""
    counts, sums = np.zeros(2**22, dtype=np.int64), np.zeros(2**22)
    for part in np.array_split(values, max(1, len(values) // 2**22)):
        upper = (part.view(np.uint32) >> 10).astype(np.int64)
        counts += np.bincount(upper, minlength=2**22)
        sums += np.bincount(upper, weights=part, minlength=2**22)
    filled = counts > 0
    means, numbers = sums[filled] / counts[filled], counts[filled]
    order = np.argsort(means)
    points = Points.of(means[order], numbers[order])
    ends = settled(points, near_least_error(points, k))
    return distortion(values, np.diff(points.sums[ends]) / np.diff(points.counts[ends]))


def quantiles(values: NDArray[np.float32], k: int) -> Centres:
    return np.quantile(values[:1_000_000].astype(np.float64), (np.arange(k) + 0.5) / k)


def scikit(values: NDArray[np.float32], k: int) -> Centres:
    from sklearn.cluster import KMeans

    return KMeans(k, n_init=1, random_state=0).fit(values[:, None]).cluster_centers_.flatten().astype(np.float64)


def scipy2(values: NDArray[np.float32], k: int) -> Centres:
    from scipy.cluster.vq import kmeans2

    return kmeans2(values[:, None], quantiles(values, k).astype(np.float32)[:, None], iter=25, minit="matrix")[
        0
    ].flatten()


def torch_lloyd(values: NDArray[np.float32], k: int) -> Centres:
    return torch_rounds(
        torch.from_numpy(values), torch.from_numpy(quantiles(values, k)), torch.ones(k, dtype=torch.bool), 25
    )


def torch_rounds(weights: Tensor, centres: Tensor, movable: Tensor, rounds: int) -> Centres:
    """Lloyd by bucketize and bincount."""
    exact = weights.double()
    for _ in range(rounds):
        ascending, order = centres.sort()
        codes = order[torch.bucketize(weights, ((ascending[1:] + ascending[:-1]) / 2).float())]
        counts = torch.bincount(codes, minlength=len(centres))
        sums = torch.bincount(codes, weights=exact, minlength=len(centres))
        centres = torch.where(movable & (counts > 0), sums / counts.clamp(min=1), centres)
    return centres.cpu().numpy()


def numpy_lloyd(values: NDArray[np.float32], k: int) -> Centres:
    return numpy_rounds(values, quantiles(values, k), np.ones(k, dtype=np.bool_), 25)


def numpy_rounds(values: NDArray[np.float32], centres: Centres, movable: NDArray[np.bool_], rounds: int) -> Centres:
    """Lloyd by searchsorted and bincount."""
    for _ in range(rounds):
        order = np.argsort(centres)
        ascending = centres[order]
        codes = order[np.searchsorted(((ascending[1:] + ascending[:-1]) / 2).astype(np.float32), values)]
        counts = np.bincount(codes, minlength=len(centres))
        sums = np.bincount(codes, weights=values, minlength=len(centres))
        centres = np.where(movable & (counts > 0), sums / np.maximum(counts, 1), centres)
    return centres


def faiss_lloyd(values: NDArray[np.float32], k: int) -> Centres:
    faiss: Any = importlib.import_module("faiss")
    search = faiss.Kmeans(1, k, niter=25, seed=1, max_points_per_centroid=len(values))
    search.train(values[:, None])
    return np.asarray(search.centroids, dtype=np.float64).flatten()


def dynamic(values: NDArray[np.float32], k: int) -> Centres:
    return np.asarray(importlib.import_module("kmeans1d").cluster(values, k).centroids)


def ckmeans(values: NDArray[np.float32], k: int) -> Centres:
    return np.asarray(importlib.import_module("ckwrap").ckmeans(values.astype(np.float64), k).centers)


def flash(values: NDArray[np.float32], k: int) -> Centres:
    found, _ = importlib.import_module("flash1dkmeans").kmeans_1d(values, k, random_state=0)
    return np.asarray(found, dtype=np.float64)


PEERS: dict[str, tuple[str, Callable[[NDArray[np.float32], int], Centres]]] = {
    "scikit-learn": ("sklearn", scikit),
    "SciPy kmeans2, 25 rounds": ("scipy", scipy2),
    "torch bucketize Lloyd, 25 rounds": ("torch", torch_lloyd),
    "NumPy searchsorted Lloyd, 25 rounds": ("numpy", numpy_lloyd),
    "faiss, all points, 25 rounds": ("faiss", faiss_lloyd),
    "kmeans1d (exact)": ("kmeans1d", dynamic),
    "ckwrap (exact)": ("ckwrap", ckmeans),
    "flash1dkmeans": ("flash1dkmeans", flash),
}
STRONG = ["scikit-learn", "torch bucketize Lloyd, 25 rounds", "flash1dkmeans"]
# Which peers run where: all of them once; elsewhere those that are fast or come near the reference, or the strongest only.
FULL = [
    (SIZES[0], 3, STRONG),
    (SIZES[0], 17, list(PEERS)),
    (SIZES[0], 32, STRONG),
    (
        SIZES[0],
        256,
        ["scikit-learn", "torch bucketize Lloyd, 25 rounds", "faiss, all points, 25 rounds", "flash1dkmeans"],
    ),
    (SIZES[1], 17, STRONG),
    (SIZES[1], 256, STRONG),
    (SIZES[2], 17, STRONG),
]
QUICK = [(SIZES[0], 17, ["torch bucketize Lloyd, 25 rounds", "flash1dkmeans"])]


def least(action: Callable[[], object], repeats: int, cuda: bool = False) -> float:
    """The least time of some runs, in seconds."""
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        if cuda:
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return best


def memory(name: str) -> float:
    """A line of this process's memory, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024


def measure_suite(n: int, k: int, device: str) -> dict[str, float]:
    kmeans1d(torch.from_numpy(drawn(1_500_000)).to(device), k)  # compiled, or read from numba's cache
    values = drawn(n)
    weights = torch.from_numpy(values).to(device)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = memory("VmRSS")
    centres, codes = kmeans1d(weights, k)
    extra = memory("VmHWM") - before - (codes.numel() / 2**20 if device == "cpu" else 0)
    del codes
    cuda = device == "cuda"
    seconds = least(lambda: kmeans1d(weights, k), 5, cuda)
    out = torch.empty(n, dtype=torch.uint8, device=device)
    limit = 2 * least(lambda: weights.sum(), 7, cuda) + least(lambda: out.fill_(1), 7, cuda)
    error = distortion(values, centres.cpu().numpy()) / reference(values, k) - 1
    return {"seconds": seconds, "limit": limit, "extra": extra, "error": error}


def measure_peer(name: str, n: int, k: int) -> dict[str, float]:
    values, (_, action) = drawn(n), PEERS[name]
    action(values[:100_000].copy(), k)
    start = time.perf_counter()
    centres = action(values, k)
    return {"seconds": time.perf_counter() - start, "distortion": distortion(values, centres)}


def measure_rounds(n: int, k: int, device: str) -> dict[str, float]:
    """Ten rounds from the ladder, zero and every fourth centre fixed."""
    values = drawn(n)
    weights, movable = torch.from_numpy(values).to(device), torch.arange(k) % 4 != 0
    start = ladder(Sorted.of(torch.stack(weights.aminmax())), k, torch.Generator())
    lloyd_on_bins(weights, start, movable, 10)
    cuda = device == "cuda"
    ours = least(lambda: lloyd_on_bins(weights, start, movable, 10), 3, cuda)
    there = (weights, start.to(device), movable.to(device), 10)
    with_torch = least(lambda: torch_rounds(*there), 1, cuda)
    with_numpy = least(lambda: numpy_rounds(values, start.numpy(), movable.numpy(), 10), 1)
    centres = lloyd_on_bins(weights, start, movable, 10)[0].numpy()
    away = np.abs(centres - torch_rounds(*there)).max() / np.abs(centres).max()
    return {"seconds": ours, "torch": with_torch, "numpy": with_numpy, "away": float(away)}


def child(arguments: list[str], peers: str, limit: int = 600) -> dict[str, float] | None:
    """What a process of this script measures; None: cut off."""
    command = [sys.executable, __file__, "--peers", peers, "--one", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return None
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def one(kind: str, n: str, k: str, device: str) -> None:
    match kind:
        case "suite":
            found = measure_suite(int(n), int(k), device)
        case "rounds":
            found = measure_rounds(int(n), int(k), device)
        case "reference":
            found = {"distortion": reference(drawn(int(n)), int(k))}
        case _:
            found = measure_peer(kind, int(n), int(k))
    print(json.dumps(found))


def table_of_suite(sizes: tuple[int, ...], device: str, peers: str) -> dict[tuple[int, int], float]:
    print(f"`kmeans1d`, {device}:\n")
    print(
        "| weights, M | k | time, ms | two reads, one write, ms | ratio | memory beyond, MiB | distortion over the reference |"
    )
    print("|--:|--:|--:|--:|--:|--:|--:|")
    times = {}
    for n in sizes:
        for k in CLUSTERS:
            found = child(["suite", str(n), str(k), device], peers)
            if found is None:
                print(f"| {n / 1e6:.1f} | {k} | cut off | | | | |", flush=True)
                continue
            times[n, k] = found["seconds"]
            ms, limit = 1000 * found["seconds"], 1000 * found["limit"]
            measured = f"{ms:.1f} | {limit:.2f} | {ms / limit:.1f} | {found['extra']:.1f} | {found['error']:+.4%}"
            print(f"| {n / 1e6:.1f} | {k} | {measured} |", flush=True)
    return times


def table_of_peers(
    rows: list[tuple[int, int, list[str]]], times: dict[tuple[int, int], float], peers: str, limit: int
) -> None:
    absent = {name for name, (module, _) in PEERS.items() if importlib.util.find_spec(module) is None}
    print("\nPeers" + (f" (absent: {', '.join(sorted(absent))})" if absent else "") + ":\n")
    print("| weights, M | k | peer | time, s | distortion over the reference | times `kmeans1d`'s |")
    print("|--:|--:|:--|--:|--:|--:|")
    for n, k, names in rows:
        best = child(["reference", str(n), str(k), "cpu"], peers)
        for name in names:
            if name in absent:
                continue
            found, ours = child([name, str(n), str(k), "cpu"], peers, limit), times.get((n, k), float("nan"))
            if found is None or best is None:
                print(f"| {n / 1e6:.1f} | {k} | {name} | > {limit} | | > {limit / ours:.0f} |", flush=True)
                continue
            error = found["distortion"] / best["distortion"] - 1
            print(
                f"| {n / 1e6:.1f} | {k} | {name} | {found['seconds']:.2f} | {error:+.2%} | {found['seconds'] / ours:.0f} |",
                flush=True,
            )


def table_of_rounds(sizes: tuple[int, ...], devices: list[str], peers: str) -> None:
    print("\nTen Lloyd rounds of SLQ, k = 17, fixed centres included:\n")
    print(
        "| weights, M | device | suite, s | torch bucketize, s | NumPy, s | times (torch, NumPy) | centres differ by |"
    )
    print("|--:|:--|--:|--:|--:|--:|--:|")
    for device in devices:
        for n in sizes:
            found = child(["rounds", str(n), "17", device], peers)
            if found is None:
                print(f"| {n / 1e6:.1f} | {device} | cut off | | | | |", flush=True)
                continue
            ours, by_torch, by_numpy = found["seconds"], found["torch"], found["numpy"]
            ratios = f"{by_torch / ours:.0f}, {by_numpy / ours:.0f}"
            print(
                f"| {n / 1e6:.1f} | {device} | {ours:.3f} | {by_torch:.2f} | {by_numpy:.2f} | {ratios} | {found['away']:.0e} |",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the smallest size, two peers: under a minute")
    parser.add_argument("--cuda", action="store_true", help="the suite's rows on the GPU, too")
    parser.add_argument("--peers", default="", help="a folder with peers that are not installed")
    parser.add_argument("--limit", type=int, default=LIMIT, help="seconds for each peer's process")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peers:
        sys.path.append(arguments.peers)
    if arguments.one:
        one(*arguments.one)
        return
    devices = ["cpu", "cuda"] if arguments.cuda else ["cpu"]
    sizes = SIZES[:1] if arguments.quick else SIZES
    print(f"{torch.get_num_threads()} threads\n")
    times = table_of_suite(sizes, "cpu", arguments.peers)
    if arguments.cuda:
        print()
        table_of_suite(sizes, "cuda", arguments.peers)
    table_of_peers(QUICK if arguments.quick else FULL, times, arguments.peers, arguments.limit)
    table_of_rounds(sizes[:2], devices, arguments.peers)


if __name__ == "__main__":
    main()
