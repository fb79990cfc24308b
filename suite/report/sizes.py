"""Where the bits of a row's networks go, and what ratio each way of counting gives."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from suite.report.spread import mean


@dataclass(frozen=True)
class Sizes:
    """Means over the trials of a row; bits are per weight of the quantized layers, pruned ones included. None: unknown."""

    index: float | None  # of the weights that are left, at a fixed width
    codebook: float | None
    position: float | None  # where the weights are that were not pruned
    code: float | None  # the indices as the file has them
    entropy: float | None  # of the indices: less than this no coder takes that knows nothing but their frequencies
    file_bytes: float | None  # of the real file, everything included
    fixed_ratio: float | None  # whole network at 32 bits / stored, at fixed widths
    ratio_deep_compression: float | None  # as Han et al. 2016 count
    ratio_choi: float | None  # as Choi et al. 2017 count
    coders: Mapping[str, float]  # bits of the indices under every coder that was tried

    @staticmethod
    def of(group: pd.DataFrame) -> Sizes:
        """Of rows of the tidy frame."""
        weights = group["weights"].where(group["weights"] > 0)
        return Sizes(
            index=mean(group["index_bits"] / weights),
            codebook=mean(group["codebook_bits"] / weights),
            position=mean(group["position_bits"] / weights),
            code=mean(group["code_bits"] / weights),
            entropy=mean(group["entropy_bits"] / weights),
            file_bytes=mean(group["file_bits"] / 8),
            fixed_ratio=mean(group["fixed_ratio"]),
            ratio_deep_compression=mean(group["ratio_deep_compression"]),
            ratio_choi=mean(group["ratio_choi"]),
            coders=_coders(group["coders"], weights),
        )


def _coders(texts: pd.Series[str], weights: pd.Series[float]) -> dict[str, float]:
    bits = pd.DataFrame([json.loads(text) for text in texts.dropna()], index=texts.dropna().index, dtype="float64")
    per_weight = bits.div(weights[bits.index], axis="index")
    return {str(name): float(value) for name, value in per_weight.mean().dropna().items()}
