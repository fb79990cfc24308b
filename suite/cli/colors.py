"""`slq colors`: an image in few colours, and how the ways to get there compare."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from suite.cli.app import check_file, out
from suite.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from suite.colors.compare import Measured
    from suite.colors.picture import Pixels
    from suite.colors.reduce import Way


def colors(
    image: Annotated[Path | None, typer.Argument(metavar="IMAGE", help="Any 8-bit image that Pillow reads.")] = None,
    wanted: Annotated[list[int] | None, typer.Option("--colors", help="At most so many, 2 to 256; repeatable.")] = None,
    method: Annotated[str, typer.Option(help="som, kmeans, mediancut or octree.")] = "som",
    target: Annotated[Path | None, typer.Option("--out", help="Where the result goes: a PNG with a palette.")] = None,
    space: Annotated[str, typer.Option(help="In which colours are compared: lab or rgb.")] = "lab",
    local: Annotated[float, typer.Option(help="Weight of the local mean colour; the colour's own is 1.")] = 0.0,
    smoothness: Annotated[float, typer.Option(help="Weight of the local spread of lightness.")] = 0.0,
    position: Annotated[float, typer.Option(help="Weight of the pixel's place.")] = 0.0,
    window: Annotated[int, typer.Option(min=1, help="Side of the local window, pixels.")] = 5,
    shape: Annotated[str, typer.Option("--map", help="Of som: tree (several stages), line, plane, online.")] = "tree",
    assign: Annotated[str, typer.Option(help="A pixel's colour: the nearest, or that of its class.")] = "nearest",
    seed: Annotated[int, typer.Option(min=0, max=2**31, help="Of all that is drawn at random.")] = 0,
    compare: Annotated[bool, typer.Option("--compare", help="Measure all ways on the image.")] = False,
    photographs: Annotated[
        bool, typer.Option("--photographs", help="Compare on photographs of scikit-learn and scikit-image instead.")
    ] = False,
    table: Annotated[Path | None, typer.Option(help="Also write the comparison to this Markdown file.")] = None,
) -> None:
    """Reduce an image's colours by a self-organizing map, or compare the ways to do so."""
    from suite.colors.features import Features
    from suite.colors.picture import check_target, open_picture
    from suite.colors.reduce import Way, check_colors
    from suite.colors.space import require_scikit_image

    require_scikit_image()
    numbers = wanted or []
    _check(image, numbers, target, compare, photographs, table)
    for number in numbers:
        check_colors(number)
    check_target(target, image)
    for file in (target, table):
        if file is not None:
            check_file(file)
    features = Features(space, local, smoothness, position, window)  # type: ignore[arg-type]  # Way checks the names
    way = Way(method, features, shape, assign, seed=seed)  # type: ignore[arg-type]
    if image is None:
        _compare(_photographs(), numbers, way, table)
        return
    rgb = open_picture(image)
    if compare:
        _compare({image.name: {image.name: lambda: rgb}}, numbers, way, table)
    if target is not None or not compare:
        _reduce(rgb, numbers[0], way, target)


def _check(
    image: Path | None, numbers: list[int], target: Path | None, compare: bool, photographs: bool, table: Path | None
) -> None:
    """Whether what was asked for fits together."""
    if (image is None) != photographs:
        raise UserError("name one image, or --photographs" + ("" if image is None else ", not both"))
    if not numbers:
        raise UserError("how many colours? Say --colors 16, for instance")
    if photographs and target is not None:
        raise UserError("--out writes one image; with --photographs there are many")
    if len(numbers) > 1 and (target is not None or not (compare or photographs)):
        raise UserError(f"one image has one number of colours, not {numbers}; several are for comparisons")
    if table is not None and not (compare or photographs):
        raise UserError("--table writes a comparison: add --compare, or --photographs in place of an image")


def _reduce(rgb: Pixels, number: int, way: Way, target: Path | None) -> None:
    from suite.colors.measure import measure
    from suite.colors.picture import write_png
    from suite.colors.reduce import reduce

    reduced = reduce(rgb, number, way)
    m = measure(rgb, reduced.pixels())
    out.print(
        f"{way.method}: {m.colors} colours, MSE {m.mse:.2f}, PSNR {m.psnr:.2f} dB, mean ΔE 2000 {m.delta_e:.3f}",
        soft_wrap=True,
    )
    if target is not None:
        write_png(target, reduced.palette, reduced.codes)
        out.print(f"image    {target}", soft_wrap=True)


def _photographs() -> dict[str, dict[str, Callable[[], Pixels]]]:
    from suite.colors.photographs import CHOSEN_ON, HELD_OUT, photograph

    groups = {"Photographs that the defaults were chosen on": CHOSEN_ON, "Photographs held out": HELD_OUT}
    return {title: {name: partial(photograph, name) for name in names} for title, names in groups.items()}


def _compare(
    groups: Mapping[str, Mapping[str, Callable[[], Pixels]]], numbers: list[int], way: Way, table: Path | None
) -> None:
    from suite.colors.compare import compare, frame, markdown, means, ways_with
    from suite.files import write_atomic

    ways = ways_with(way)
    measured = {title: frame(list(_told(compare(images, numbers, ways)))) for title, images in groups.items()}
    for title, rows in measured.items():
        for number in numbers:
            out.print(_grid(means(rows, number), f"{title}: {number} colours"))
    if table is not None:
        text = markdown(measured, shlex.join(["slq", *sys.argv[1:]]))
        write_atomic(table, partial(Path.write_text, data=text, encoding="utf-8"))
        out.print(f"table    {table}", soft_wrap=True)


def _told(rows: Iterable[Measured]) -> Iterator[Measured]:
    """The same rows, each told on the terminal as it comes."""
    with out.status("reducing") as status:
        for row in rows:
            status.update(f"{row.image}, {row.wanted} colours, {row.way}: done")
            yield row


def _grid(rows: pd.DataFrame, title: str) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    grid = Table(title=Text(title), title_justify="left", title_style="bold", box=SIMPLE_HEAD, show_edge=False)
    for name in rows.columns:
        grid.add_column(name, justify="left" if name == "Way" else "right")
    for row in rows.itertuples(index=False):
        grid.add_row(*(Text(cell) for cell in row))
    return grid
