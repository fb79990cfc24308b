"""What the LaTeX of all tables shares: texts as it prints them, how wide they are, and a float that fits an article's page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate

import pandas as pd

_TEX = str.maketrans({
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": "$<$", ">": "$>$", "|": "$|$", '"': "''",
    "±": r"$\pm$", "−": "$-$", "×": r"$\times$", "Δ": r"$\Delta$", "–": "--",
})  # fmt: skip

# In pt: an article's line; the space from a column to the next; what characters take in \footnotesize, at most about
LINE, GAP = 345.0, 6.0
# Lines of rows, about and at most: an article's page has room for 54 beside a caption, and a heading may have four
PAGE, MOST = 44, 50
_NARROW, _LETTER, _WIDE = {" ": 2.9, ".": 2.4, ",": 2.4}, 4.6, 7.2


def tex(text: object) -> str:
    """A text as LaTeX prints it."""
    return str(text).translate(_TEX)


def points(text: str) -> float:
    """How wide a text is in a table."""
    return sum(_NARROW.get(char, _LETTER if char.isdigit() or char.islower() else _WIDE) for char in text)


def on_pages(frame: pd.DataFrame, widths: Mapping[str, float]) -> list[pd.DataFrame]:
    """A table's rows in parts of about the same height, none taller than a page unless a row is; `widths`, pt, are of columns that
    break."""
    rows = frame[list(widths)].itertuples(index=False)
    heights = [max(_lines(text, width) for text, width in zip(row, widths.values(), strict=True)) for row in rows]
    return [part for _, part in frame.groupby(_places(heights))]


def _places(heights: Sequence[int]) -> list[int]:
    """The number of each row's part."""
    total = sum(heights)
    count = math.ceil(total / PAGE)
    places: list[int] = []
    wanted, used = 0, 0
    for height, above in zip(heights, accumulate(heights, initial=0), strict=False):
        begins = above * count // total > wanted or used + height > MOST
        wanted, used = above * count // total, height if begins else used + height
        places.append((places[-1] if places else 0) + begins)
    return places


def _lines(text: str, width: float) -> int:
    """How many lines a text has that breaks between words."""
    lines, used = 1, 0.0
    for word in text.split():
        used += points(f" {word}") if used else points(word)
        if used > width and used > points(word):
            lines, used = lines + 1, points(word)
    return lines


def float_of(title: str, columns: str, heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A float for a document that loads `booktabs`.

    Args:
        columns: as `tabular` has them, such as `p{40pt}r`.
        heading, rows: cells, already LaTeX.
    """
    first, *others = [" & ".join(cells) + r" \tabularnewline" for cells in (heading, *rows)]
    return "\n".join([
        r"\begin{table}",
        r"\centering\footnotesize\setlength{\tabcolsep}{3pt}",
        rf"\caption{{{tex(title)}}}",
        rf"\begin{{tabular}}{{@{{}}{columns}@{{}}}}",
        r"\toprule",
        first,
        r"\midrule",
        *others,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ])  # fmt: skip


def below(lines: Sequence[str]) -> list[str]:
    """Paragraphs of small print."""
    return [r"{\footnotesize\raggedright", *(r"\noindent " + tex(line) + r"\par" for line in lines), "}"]
