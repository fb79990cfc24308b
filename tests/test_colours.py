"""Figures are readable for the colour-blind and in print without colour: colours are simulated, not guessed."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from numpy.typing import NDArray

from suite.report.figures import frozen, sensitivity
from suite.report.figures.breakdown import PARTS
from suite.report.figures.style import LOOKS, UNKNOWN
from suite.report.figures.variants import FILLS, SIZES, _mark, marks, variants
from suite.report.web.plot import SIGNS, SYMBOLS
from suite.report.web.variants import DASHES, dashes, symbols

Vector = NDArray[np.float64]

APART = 20.0  # CIE 1976; 2.3 are just noticed side by side, and a legend is some way from its points

# Machado, Oliveira, Fernandes: A Physiologically-based Model for Simulation of Color Vision Deficiency (2009), severity 1.0;
# they act on linear RGB.
EYES = {
    "usual": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
    "print without colour": np.tile([0.2126, 0.7152, 0.0722], (3, 1)),
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])  # sRGB, D65
WHITE = TO_XYZ.sum(axis=1)


def seen(colour: object, eye: str) -> Vector:
    """(L*, a*, b*) of a colour as this eye sees it."""
    rgb = np.array(to_rgb(colour))  # type: ignore[arg-type]
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    x, y, z = np.vectorize(_root)(TO_XYZ @ np.clip(EYES[eye] @ linear, 0, 1) / WHITE)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def _root(part: float) -> float:
    return part ** (1 / 3) if part > 216 / 24389 else (24389 / 27 * part + 16) / 116


def apart(one: str, other: str) -> float:
    """The difference of two colours to the eye to which they are the most alike."""
    return min(float(np.linalg.norm(seen(one, eye) - seen(other, eye))) for eye in EYES)


def test_the_simulation_knows_what_is_known() -> None:
    assert seen("#ffffff", "usual") == pytest.approx([100, 0, 0], abs=0.02)
    assert seen("#ff0000", "usual") == pytest.approx([53.24, 80.09, 67.20], abs=0.05)
    for eye, matrix in EYES.items():
        assert matrix.sum(axis=1) == pytest.approx(1, abs=1e-5), f"{eye}: greys stay what they are"
    assert apart("#009e73", "#7f7f7f") < 10, "Okabe and Ito's green is like grey to some"
    assert apart("#d55e00", "#009e73") < 5, "and like their vermilion in print"


def test_any_two_methods_are_told_apart_by_every_eye() -> None:
    looks = {**LOOKS, "any without a look": UNKNOWN}
    for one, other in itertools.combinations(looks, 2):
        first, second = looks[one], looks[other]
        assert first.marker != second.marker or apart(first.colour, second.colour) >= APART, (one, other)


def test_every_method_stands_out_from_paper() -> None:
    for method, look in LOOKS.items():
        assert apart(look.colour, "#ffffff") >= APART, method


def test_variants_of_a_method_have_marks_of_their_own() -> None:
    made = [_mark("slq", number) for number in range(len(FILLS) * len(SIZES))]
    assert len(set(made)) == 18
    assert {(mark.colour, mark.marker) for mark in made} == {(LOOKS["slq"].colour, LOOKS["slq"].marker)}


def test_widths_of_one_variant_share_its_mark_and_variants_do_not() -> None:
    rows: Any = [
        SimpleNamespace(method=method, label=label)
        for method, label in [("slq", "SLQ, loss"), ("mlq", "MLQ"), ("slq", "SLQ, random"), ("slq", "SLQ, loss")]
    ]
    assert variants(rows) == {"SLQ, loss": 0, "MLQ": 0, "SLQ, random": 1}
    looks = marks(rows)
    assert looks["SLQ, loss"] != looks["SLQ, random"]
    assert looks["MLQ"].fill == looks["SLQ, loss"].fill == "full"


def test_the_page_tells_variants_apart_by_marks_and_configurations_by_dashes() -> None:
    names = [("mlq", "MLQ"), ("mlq", "MLQ, no compensation"), ("mlq", "MLQ"), ("slq", "SLQ, loss")]
    rows: Any = [
        SimpleNamespace(method=method, label=label, trials={f"{place}": "done"})
        for place, (method, label) in enumerate(names)
    ]
    assert symbols(rows) == {"MLQ": "diamond", "MLQ, no compensation": "diamond-open", "SLQ, loss": "square"}
    first, second, third, *_ = DASHES
    assert dashes(rows) == {"#row-0": first, "#row-2": second, "#row-1": third, "#row-3": first}


def test_the_page_has_every_marker() -> None:
    markers = {look.marker for look in (*LOOKS.values(), UNKNOWN)}
    assert markers == set(SYMBOLS) == set(SIGNS)
    assert len(set(SYMBOLS.values())) == len(set(SIGNS.values())) == len(markers)


def test_parts_of_a_file_are_told_apart_by_hatches() -> None:
    for one, other in itertools.combinations(PARTS, 2):
        assert one.hatch != other.hatch or apart(one.colour, other.colour) >= APART, (one.label, other.label)


@pytest.mark.parametrize("name", [frozen.MAP, sensitivity.MAP])
@pytest.mark.parametrize("eye", EYES)
def test_heat_maps_become_lighter_all_the_way(name: str, eye: str) -> None:
    lightness = np.array([seen(colour, eye)[0] for colour in matplotlib.colormaps[name](np.linspace(0, 1, 33))])
    assert (np.diff(lightness) > 0.5).all()
