"""What the fuzzer found."""

from __future__ import annotations

import numpy as np

from suite.pack.mixing import Mixing


def test_mixing_codes_a_long_run_of_what_is_not_the_null() -> None:
    """Each time a context's counts are halved, so is what is left to probability one, until rounding leaves nothing."""
    symbols = np.repeat(np.array([1, 0], dtype=np.uint32), (24_000, 24_001))
    data = Mixing().encode(symbols, 2)
    assert np.array_equal(Mixing().decode(data, 2, len(symbols)), symbols)
