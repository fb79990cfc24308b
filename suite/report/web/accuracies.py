"""Where an axis of accuracies begins and ends at first, so that good networks are told apart though others collapsed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

STEEP = 6.0  # points below the best: what is lower has collapsed
ROOM = 0.3  # points above the highest, for its mark


def view(floor: float, lowest: float, highest: float) -> dict[str, Any]:
    """Of plotly's axis, %: from `floor` if anything is lower, else plotly's choice. A double click shows everything."""
    return {} if lowest >= floor else {"range": [round(floor, 2), round(highest + ROOM, 2)]}


def below(names: Sequence[str]) -> str:
    """A sentence for the caption: what such an axis leaves out."""
    return f" Below what is shown at first, until a double click: {'; '.join(names)}." if names else ""
