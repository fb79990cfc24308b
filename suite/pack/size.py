"""How many bits a quantized network takes: in its file, and as papers count."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from suite.pack.bits import width_of
from suite.pack.container import Packed, unpacked
from suite.pack.contents import RECORDED, by_coder
from suite.pack.gaps import WIDTHS, best_width, huffman_bits, limited
from suite.pack.huffman import code_bits, code_lengths
from suite.pack.store import WEIGHT, is_packed_file
from suite.pack.tensor import Section
from suite.quant.coded import Coded
from suite.quant.layer import Layer

FLOAT_BITS = 32
DITHER_BITS = 136  # seed, step and lattice
GAP_BITS = {"fully connected": 5, "convolution": 8}  # Deep Compression, section 2


@dataclass(frozen=True)
class Size:
    """All in bits, except the numbers of weights and the ratios. What is not quantized counts as 32-bit numbers where papers count.

    Of the real file:
        file_bits = codebook_bits + position_bits + code_bits + side_bits + other_bits

    `coders` has what the coders that know nothing of a matrix would make of codes and positions, each in the layout that suits it
    best: all symbols, pruned ones included, or a mask of those that are not zero, or their gaps, and the others.

    As papers count (`full_bits` is the numerator everywhere):
        fixed_ratio: indices of fixed width for every weight, a pruned one having an index, and the codebooks; no entropy coding.
            So are, as far as seen, the bits of INQ and SLQ counted.
        ratio_deep_compression: Han et al. 2016, pruned, quantized and Huffman coded: the code words of the live weights'
            indices and of their index differences, of 5 bits in fully connected and 8 bits in convolutional layers, filler
            zeros among both; codebooks. The tables of the Huffman codes are not counted, nor positions where nothing is pruned
            (this suite's choice).
        ratio_choi: Choi et al. 2017: the sum over codebook entries i of (|C_i| + 1) b_i, b_i the length of the Huffman code
            word (one more for the table), and 32 bits for each of the k entries in use. Layers with the same codebook share
            one code. Where weights are pruned, Huffman-coded index differences come in the same way, sum of (|G_j| + 1) b_j,
            of the width that makes them and the filler zeros among the codes the fewest bits (this suite's choice).
    """

    weights: int  # of the quantized layers
    live: int  # of these, not pruned
    nonzero: int  # of these, not zero
    full_bits: int  # the whole network with 32-bit numbers
    file_bits: int  # the file
    ratio: float  # full_bits / file_bits; 1 for a network without quantized layers, which is not packed
    bits_per_weight: float  # (file_bits - other_bits) / weights; 32 if nothing is quantized
    codebook_bits: int  # in the file
    position_bits: int  # in the file: where weights are that are not pruned or zero; 0 where the codes tell it
    code_bits: int  # in the file: which codebook entries
    side_bits: int  # in the file: scales, dither, shapes, names, checksums
    other_bits: int  # in the file: biases, batch-norm, layers that are not quantized
    index_bits: int  # fixed-width indices of the live weights
    fixed_bits_per_weight: float
    fixed_ratio: float
    ratio_deep_compression: float
    ratio_choi: float
    entropy_bits: float  # of the live weights' codes, at the first-order entropy of each layer
    coders: dict[str, int] = field(default_factory=dict)  # codes and positions, if this coder alone coded them


def index_width(clusters: int) -> int:
    """Bits of one index into a codebook of so many centres: 17 -> 5, 9 -> 4, 5 -> 3, 3 -> 2."""
    return max(1, width_of(clusters))


def measure(model: nn.Module, layers: dict[str, Layer], path: Path) -> Size:
    """Size of a network that has been saved at `path`. Counters of batches seen are not part of a network.

    Raises:
        PackError: if the file cannot be read.
    """
    numbers = sum(p.numel() for p in model.parameters())
    numbers += sum(b.numel() for b in model.buffers() if b.is_floating_point())
    file_bits = 8 * path.stat().st_size
    if not is_packed_file(path):
        return _unquantized(numbers * FLOAT_BITS, file_bits, ratio=1.0)
    content = unpacked(path.read_bytes())
    sections = {entry.name: content.section(entry) for entry in content.entries if entry.kind == "coded"}
    if not sections:
        return _unquantized(numbers * FLOAT_BITS, file_bits, numbers * FLOAT_BITS / file_bits)
    return _size(numbers, content, sections, {name + WEIGHT: layer.coded() for name, layer in layers.items()})


def _unquantized(full: int, file: int, ratio: float) -> Size:
    width = float(FLOAT_BITS)
    return Size(0, 0, 0, full, file, ratio, width, 0, 0, 0, 0, file, 0, width, 1.0, 1.0, 1.0, 0.0)


def _size(numbers: int, content: Packed, sections: dict[str, Section], layers: dict[str, Coded]) -> Size:
    coded = {name: layers[name] for name in sections}
    weights = sum(layer.shape.numel() for layer in coded.values())
    full, file = numbers * FLOAT_BITS, 8 * content.size
    others = (numbers - weights) * FLOAT_BITS
    codebooks = 8 * content.books_size
    other = 8 * sum(len(entry.data) for entry in content.entries if entry.kind != "coded")
    positions = sum(section.position_bits for section in sections.values())
    codes = sum(section.code_bits for section in sections.values())
    live = sum(_live(layer) for layer in coded.values())
    fixed = sum(_fixed(layer) for layer in coded.values())
    return Size(
        weights=weights,
        live=live,
        nonzero=sum(int((layer.decoded() != 0).sum()) for layer in coded.values()),
        full_bits=full,
        file_bits=file,
        ratio=full / file,
        bits_per_weight=(file - other) / weights if weights else float(FLOAT_BITS),
        codebook_bits=codebooks,
        position_bits=positions,
        code_bits=codes,
        side_bits=file - codebooks - other - positions - codes,
        other_bits=other,
        index_bits=sum(len(layer.codes) * index_width(len(layer.codebook)) for layer in coded.values()),
        fixed_bits_per_weight=fixed / weights if weights else float(FLOAT_BITS),
        fixed_ratio=full / (fixed + others),
        ratio_deep_compression=full / (sum(_deep_compression(layer) for layer in coded.values()) + others),
        ratio_choi=full / (_choi(list(coded.values())) + others),
        entropy_bits=sum(entropy(layer) for layer in coded.values()),
        coders={name: one.bits for name, one in by_coder(content, RECORDED).items() if one.bits is not None},
    )


def _live(layer: Coded) -> int:
    return layer.shape.numel() if layer.live is None else int(layer.live.sum())


def _side(layer: Coded) -> int:
    """Scales of the filters as 32-bit numbers, and the dither."""
    scales = 0 if layer.scale is None else layer.scale.numel() * FLOAT_BITS
    return scales + (0 if layer.dither is None else DITHER_BITS)


def _fixed(layer: Coded) -> int:
    """Fixed-width indices and codebook. Pruned weights share the zero's index or have one; beside vectors they take a bit each."""
    entries, size, is_pruned = len(layer.codebook), layer.shape.numel(), _live(layer) < layer.shape.numel()
    stored = layer.codebook.numel() * FLOAT_BITS + _side(layer)
    if layer.codebook.dim() > 1:
        return stored + len(layer.codes) * index_width(entries) + size * is_pruned
    own = is_pruned and (layer.dither is not None or not bool((layer.codebook == 0).any()))
    return stored + size * index_width(entries + own)


def _deep_compression(layer: Coded) -> int:
    stored = layer.codebook.numel() * FLOAT_BITS + _side(layer)
    counts = _counts(layer)
    if _live(layer) == layer.shape.numel():
        return stored + code_bits(counts)
    width = GAP_BITS["fully connected" if len(layer.shape) <= 2 else "convolution"]
    if layer.codebook.dim() == 1:
        return stored + sum(huffman_bits(_positions(layer), _codes(layer), width))
    entries, _ = limited(_positions(layer), width)
    return stored + code_bits(counts) + code_bits(np.bincount(entries))


def _choi(layers: list[Coded]) -> int:
    groups: dict[tuple[object, ...], list[Coded]] = {}
    for layer in layers:
        groups.setdefault((layer.dtype, layer.codebook.shape, tuple(layer.codebook.flatten().tolist())), []).append(
            layer
        )
    return sum(_choi_group(group) for group in groups.values())


def _choi_group(layers: list[Coded]) -> int:
    """Layers that share a codebook."""
    first, bits = layers[0].codebook, sum(_side(layer) for layer in layers)
    counts = np.zeros(len(first) + 1, dtype=np.int64)  # the last are filler zeros
    for layer in layers:
        counts[:-1] += _counts(layer)
        if _live(layer) == layer.shape.numel():
            continue
        width = _shortest(layer)
        entries, is_real = limited(_positions(layer), width)
        bits += _with_table(np.bincount(entries))
        counts[-1] += len(entries) - int(is_real.sum()) if first.dim() == 1 else 0
    used = int((counts[:-1] > 0).sum()) * (1 if first.dim() == 1 else first.shape[1])
    return bits + _with_table(counts) + used * FLOAT_BITS


def _shortest(layer: Coded) -> int:
    positions = _positions(layer)
    if layer.codebook.dim() > 1:
        return min(WIDTHS, key=lambda width: code_bits(np.bincount(limited(positions, width)[0])))
    return best_width(positions, _codes(layer))


def _with_table(counts: NDArray[np.int64]) -> int:
    """The sum of (|C_i| + 1) b_i over the symbols that occur."""
    return int((code_lengths(counts).astype(np.int64) * (counts + 1)).sum())


def _codes(layer: Coded) -> NDArray[np.uint32]:
    return layer.codes.cpu().numpy().astype(np.uint32)


def _counts(layer: Coded) -> NDArray[np.int64]:
    return np.bincount(_codes(layer), minlength=len(layer.codebook)).astype(np.int64)


def _positions(layer: Coded) -> NDArray[np.int64]:
    live: Tensor | None = layer.live
    if live is None:
        return np.arange(layer.shape.numel())
    return np.flatnonzero(live.cpu().numpy().reshape(-1))


def entropy(layer: Coded) -> float:
    """Bits of all codes of a layer at the first-order entropy of their frequencies."""
    counts = _counts(layer)
    counts = counts[counts > 0]
    return float((counts * np.log2(counts.sum() / counts)).sum())
