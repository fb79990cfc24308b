"""Coded size of real networks, in bits per weight, beside the order-0 entropy of each tensor's codes.

python benchmarks/sizes.py NETWORK ...    safetensors or state_dicts, which are quantized here; packed networks (*.slq) as they are
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from suite.pack.convert import open_packed
from suite.pack.plane import Unit
from suite.pack.shape import row_of
from suite.pack.streams import Uncoded
from suite.quant import kmeans1d

CENTRES = {"k-means, 5 bits": 17, "k-means, 4 bits": 9, "k-means, 3 bits": 5, "k-means, ternary": 3}
ALONE = ("huffman", "rans", "adaptive", "zstd", "bz2")
THEIRS = importlib.util.find_spec("nncodec") is not None
SECONDS = 240.0  # after which no further row is begun
MIXED = 2**17  # weights of a tensor that is coded by mixing only to compare; a million take ten seconds


def quantized(weights: list[Tensor], centres: int) -> list[Unit]:
    """Every tensor by itself."""
    units = []
    for weight in weights:
        found, codes = kmeans1d(weight.float().contiguous(), centres)
        symbols = codes.flatten().numpy().astype(np.uint32)
        null = int(np.bincount(symbols).argmax())
        units.append(Unit(symbols, len(found), null, row_of(tuple(weight.shape))))
    return units


def rows(path: Path) -> Iterator[tuple[str, list[Unit]]]:
    """How the network was quantized, and its tensors' codes."""
    if path.suffix == ".slq":
        content = open_packed(path)
        sections = [content.section(entry) for entry in content.entries if entry.kind == "coded"]
        yield "as trained", [unit for section in sections for unit in section.units(content.books[section.book])]
        return
    state = (
        load_file(path) if path.suffix == ".safetensors" else torch.load(path, map_location="cpu", weights_only=True)
    )
    weights = [tensor for tensor in state.values() if tensor.dim() > 1 and tensor.is_floating_point()]
    for name, centres in CENTRES.items():
        yield name, quantized(weights, centres)


def sizes(unit: Unit) -> Counter[str]:
    """Bits: at the entropy, by each coder alone, and of the smallest layout by the smallest coders."""
    dense = Uncoded(unit.symbols, unit.alphabet, unit.row)
    counts = np.bincount(unit.symbols)
    counts = counts[counts > 0]
    planes = unit.planes()
    found = {name: dense.by(name).bits for name in ALONE}
    found["bound"] = round(float((counts * np.log2(len(unit.symbols) / counts)).sum()))
    found["mixing"] = dense.by("mixing").bits if len(unit.symbols) <= MIXED else found["adaptive"]
    if THEIRS:
        found["NNCodec"] = deep_cabac(unit)
    found["auto"] = min(8 * len(plane.written()) for plane in planes)
    return Counter(found)


def deep_cabac(unit: Unit) -> int:
    """Bits by the arithmetic coder of NNCodec (MPEG-7 part 17), of distances from the most frequent symbol, row by row."""
    from nncodec.extensions.deepCABAC import Encoder, HdspMode

    distances = (unit.symbols.astype(np.int32) - unit.null).reshape(-1, max(unit.row, 1))
    encoder = Encoder()
    encoder.initCtxModels(11, 1)  # as its defaults are; parameters of the contexts are chosen by trying
    skipped = np.zeros(len(distances), dtype=np.int32)
    encoder.encodeLayer(distances, 0, 0, 0, 0, 0, skipped, HdspMode.AlwaysOff, np.zeros(2, dtype=np.int8), 0, 0)
    return 8 * len(encoder.finish().tobytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="+", type=Path)
    columns = ("bound", *ALONE, "mixing", *(["NNCodec"] if THEIRS else []), "auto")
    print(f"| network | weights | quantized by | {' | '.join(columns)} |\n|:--|--:|:--|{'--:|' * len(columns)}")
    started = time.perf_counter()
    for path in parser.parse_args().networks:
        for how, units in rows(path):
            if time.perf_counter() - started > SECONDS:
                raise SystemExit("the rest is left out: five minutes are over")
            total = sum((sizes(unit) for unit in units), Counter[str]())
            weights = sum(len(unit.symbols) for unit in units)
            cells = [f"{total[name] / weights:.4f}" for name in columns]
            print(
                f"| {path.parent.name if path.name == 'model.slq' else path.stem} | {weights:,} | {how} | {' | '.join(cells)} |",
                flush=True,
            )
    print(
        f"\n`mixing`: tensors of more than {MIXED:,} weights by `adaptive`. `auto`: what `slq pack` takes, mixing included."
    )
    if not THEIRS:
        print("NNCodec is not installed here, so it is not compared.")


if __name__ == "__main__":
    main()
