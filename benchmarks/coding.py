"""Coders of index streams side by side: speed of encoding and decoding, and the size over the order-0 entropy.

python benchmarks/coding.py            37.7 million symbols, about five minutes
python benchmarks/coding.py --quick     2.4 million symbols
"""

from __future__ import annotations

import argparse
import bz2
import importlib.util
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from constriction import stream
from zstandard import ZstdCompressor, ZstdDecompressor

from suite.pack import bits
from suite.pack.bits import Symbols
from suite.pack.coders import CODERS
from suite.quant import kmeans1d

MANY, FEW = 37_700_000, 2_400_000  # weights of AlexNet's largest layer, of ResNet-18's
SLOW = 500_000  # symbols that coders get which code a million a second
ROUNDS, PATIENCE = 5, 1.5  # the best of so many, or of as many as fit into so many seconds
OURS = ("fixed", "huffman", "rans", "adaptive")


@dataclass(frozen=True)
class Peer:
    """A way to code symbols: `encode` gives what `decode` takes, `size` its bytes."""

    name: str
    encode: Callable[[Symbols], Any]
    decode: Callable[[Any, int], Any]
    size: Callable[[Any], int] = len
    most: int = MANY  # symbols that it is given


def indices(count: int) -> dict[str, tuple[Symbols, int]]:
    """Streams like those of quantized layers, with alphabets: entropy 3.40 bits; ternary, 1.37; 90 % zeros, 0.80."""
    rng = np.random.default_rng(0)
    weights = rng.standard_t(5, count).astype(np.float32)
    five = np.clip(np.rint(weights / np.float32(0.485)), -15, 15) + 15
    ternary = np.sign(weights) * (np.abs(weights) > 0.9195) + 1
    sparse = np.where(
        rng.random(count, dtype=np.float32) < 0.9, 8, np.clip(np.rint(weights / np.float32(0.21)), -8, 8) + 8
    )
    return {
        "5-bit": (five.astype(np.uint32), 31),
        "ternary": (ternary.astype(np.uint32), 3),
        "sparse": (sparse.astype(np.uint32), 17),
    }


def entropy(symbols: Symbols, alphabet: int) -> float:
    """Bits per symbol."""
    shares = np.bincount(symbols, minlength=alphabet) / len(symbols)
    return float(-(shares[shares > 0] * np.log2(shares[shares > 0])).sum())


def ours(alphabet: int) -> Iterator[Peer]:
    for coder in CODERS:
        if coder.name in OURS:
            yield Peer(
                f"**{coder.name}**",
                lambda symbols, coder=coder: coder.encode(symbols, alphabet),
                lambda data, count, coder=coder: coder.decode(data, alphabet, count),
            )


def peers(symbols: Symbols, alphabet: int) -> Iterator[Peer]:
    """Given the frequencies, as far as they take any; not counted in their sizes."""
    shares = np.bincount(symbols, minlength=alphabet) / len(symbols)
    model = stream.model.Categorical(shares, perfect=False)

    def ans(given: Symbols) -> Any:
        coder = stream.stack.AnsCoder()
        coder.encode_reverse(given.astype(np.int32), model)
        return coder.get_compressed()

    def queue(given: Symbols) -> Any:
        coder = stream.queue.RangeEncoder()
        coder.encode(given.astype(np.int32), model)
        return coder.get_compressed()

    words = lambda found: 4 * len(found)  # noqa: E731
    yield Peer("constriction ANS", ans, lambda data, count: stream.stack.AnsCoder(data).decode(model, count), words)
    yield Peer(
        "constriction range", queue, lambda data, count: stream.queue.RangeDecoder(data).decode(model, count), words
    )
    width = bits.width_of(alphabet)
    yield Peer(
        "NumPy packbits",
        plainly(lambda given: bits.pack(given, width)),
        plainly(lambda data, n: bits.unpack(data, width, n)),
    )
    for level in (1, 3):
        yield Peer(
            f"zstd -{level}",
            lambda given, level=level: ZstdCompressor(level=level).compress(given.astype(np.uint8).tobytes()),
            lambda data, count: np.frombuffer(ZstdDecompressor().decompress(data), dtype=np.uint8),
        )
    yield Peer(
        "bz2 -9",
        lambda given: bz2.compress(given.astype(np.uint8).tobytes(), 9),
        lambda data, count: np.frombuffer(bz2.decompress(data), dtype=np.uint8),
        most=FEW,
    )
    if importlib.util.find_spec("dahuffman"):
        from dahuffman import HuffmanCodec

        codec = HuffmanCodec.from_frequencies({i: float(share) for i, share in enumerate(shares) if share})
        yield Peer(
            "dahuffman", lambda given: codec.encode(given.tolist()), lambda data, count: codec.decode(data), most=SLOW
        )


def plainly(work: Callable[..., Any]) -> Callable[..., Any]:
    """Without the compiled loops."""

    def plain(*given: Any) -> Any:
        with patch.object(bits, "FAST", 2**60):
            return work(*given)

    return plain


def best(action: Callable[[], object]) -> float:
    """Seconds of the fastest round, after one that is not counted."""
    times, start = [timed(action)], time.perf_counter()
    while len(times) < 2 or (len(times) <= ROUNDS and time.perf_counter() - start < PATIENCE):
        times.append(timed(action))
    return min(times[1:])


def timed(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def row(peer: Peer, symbols: Symbols, alphabet: int) -> tuple[float, float, float]:
    """Million symbols a second encoded and decoded, and the size over the entropy."""
    given = symbols[: peer.most]
    data = peer.encode(given)
    if not np.array_equal(np.asarray(peer.decode(data, len(given)), dtype=np.uint32), given):
        raise SystemExit(f"{peer.name} does not give back what it was given")
    times = best(lambda: peer.encode(given)), best(lambda: peer.decode(data, len(given)))
    size = 8 * peer.size(data) / (entropy(given, alphabet) * len(given))
    return len(given) / times[0] / 1e6, len(given) / times[1] / 1e6, size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    count = FEW if parser.parse_args().quick else MANY
    found: dict[str, list[str]] = {}
    streams = indices(count)
    for symbols, alphabet in streams.values():
        for peer in (*ours(alphabet), *peers(symbols, alphabet)):
            encoded, decoded, size = row(peer, symbols, alphabet)
            found.setdefault(peer.name, []).append(f"{encoded:,.0f} / {decoded:,.0f}; {size:.4f}")
    heads = [f"{name}, {entropy(*given):.2f} bits" for name, given in streams.items()]
    print(
        f"{count:,} symbols, {torch.get_num_threads()} threads: million symbols a second encoded / decoded; size over entropy."
    )
    print(f"(bz2 has {min(FEW, count):,} of them, dahuffman {SLOW:,}.)\n")
    print(f"| coder | {' | '.join(heads)} |\n|:--|{'--:|' * len(heads)}")
    for name, cells in found.items():
        print(f"| {name} | {' | '.join(cells)} |")
    weights = torch.from_numpy(np.random.default_rng(0).standard_t(5, count).astype(np.float32))
    for clusters in (17, 32):
        rate = count / best(partial(kmeans1d, weights, clusters)) / 1e6
        print(f"\nClustering for comparison, `kmeans1d` with k = {clusters}: {rate:,.0f} million weights a second.")


if __name__ == "__main__":
    main()
