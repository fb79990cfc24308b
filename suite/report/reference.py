"""Published figures: one YAML file per paper in `results/reference`, each figure with how it is known.

A figure that is only remembered has no flag here and cannot be loaded: what stands beside a trial was read by somebody.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from suite.errors import UserError
from suite.report.condition import Options, meets
from suite.report.strict import Inner, Strict, dotted_only, read_strictly
from suite.report.tolerance import Tolerance
from suite.yaml_lines import line_of

FOLDER = Path(__file__).parents[2] / "results" / "reference"  # of this checkout, wherever it is called from

# Data that is shown beside the figures of other, published data: there only differences to full precision compare.
STANDS_FOR = {"cifar10-jpeg": "cifar10"}

_NOT_OPTIONS = ("network", "data", "seed", "runtime")


class Source(Strict):
    """Where figures were published."""

    title: str
    authors: str = ""
    venue: str
    arxiv: str = ""

    @property
    def short(self) -> str:
        return f"{self.authors}, {self.venue}" if self.authors else self.venue

    @property
    def citation(self) -> str:
        parts = [self.title, self.venue, f"arXiv {self.arxiv}" if self.arxiv else ""]
        return (f"{self.authors}: " if self.authors else "") + ", ".join(part for part in parts if part)


class Known(Strict):
    """Why trials fall short of a figure: a verdict outside the tolerance becomes a known deviation with this reason.

    `where` are conditions on a trial's settings (see suite.report.condition), on any of them; without conditions all trials
    are meant that the figure stands beside.
    """

    where: Annotated[dict[str, Any], AfterValidator(dotted_only)] = Field({})
    reason: str = Field(min_length=1)

    def holds(self, settings: Mapping[str, Any]) -> bool:
        """Whether a trial with these settings (dotted) is meant. Raises `UserError` if one of the conditions names no setting."""
        return meets({"prune": "any", **self.where}, settings)


class Entry(Strict):
    """One published result. Errors in %, `delta` in points of accuracy (negative: worse than full precision), `ratio` in sizes.

    Without `bits` it stands for every width that has no entry of its own. `options` are conditions on a trial's settings (see
    suite.report.condition): dotted names with the value, a list of such values, or `exists`, `absent`, `any`; `prune` is `absent`
    unless they say otherwise. With a `variant` it is another experiment than a trial of that method, so it is listed but
    never put into a trial's row. `known` are deviations with their reasons; the first that holds counts. `tolerance` stands for
    the usual one (suite.report.tolerance), with its reason.
    """

    network: str
    data: str
    method: str
    bits: int | None = None
    options: dict[str, Any] = Field({})
    variant: str = ""
    top1_error: float | None = Field(None, ge=0, le=100)
    top5_error: float | None = Field(None, ge=0, le=100)
    full_top1_error: float | None = Field(None, ge=0, le=100)
    full_top5_error: float | None = Field(None, ge=0, le=100)
    delta: float | None = None
    ratio: float | None = Field(None, gt=0)
    flag: Literal["SEEN", "2nd"] | None = None
    read: str = ""
    note: str = ""
    available: bool = True
    reason: str = ""
    known: tuple[Known, ...] = ()
    tolerance: Tolerance | None = None

    @property
    def place(self) -> tuple[str, str, str] | None:
        """Network, data and method of the trials beside which it may stand; None if it is of a variant."""
        return None if self.variant else (self.network, self.data, self.method)

    @property
    def key(self) -> tuple[str, str, str, int | None, str]:
        return self.network, self.data, self.method, self.bits, json.dumps(self.options, sort_keys=True)

    @field_validator("options")
    @classmethod
    def _are_settings(cls, options: dict[str, Any]) -> dict[str, Any]:
        for name in dotted_only(options):
            if name.partition(".")[0] in _NOT_OPTIONS or name in ("method.name", "method.bits"):
                raise ValueError(
                    f"{name!r} has a key of its own; options are other settings, such as method.kind or prune"
                )
        return options

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        figures = [self.top1_error, self.top5_error, self.full_top1_error, self.full_top5_error, self.delta, self.ratio]
        has_figure = any(figure is not None for figure in figures)
        if self.available and not (has_figure and self.flag and self.read):
            raise ValueError("needs a figure, its 'flag' (SEEN, 2nd) and where it was 'read'; or 'available: false'")
        if not self.available and (has_figure or not self.reason):
            raise ValueError("'available: false' needs a 'reason' and no figures")
        return self

    @model_validator(mode="after")
    def _has_rows_that_deviate(self) -> Self:
        if self.known and (self.variant or not self.available):
            raise ValueError(
                "'known' is of a figure beside trials; an entry with a 'variant' or without figure has none"
            )
        return self

    @model_validator(mode="after")
    def _has_a_figure_to_fall_short_of(self) -> Self:
        if self.tolerance and not self.available:
            raise ValueError("'tolerance' is of a figure; an entry that is not available has none")
        return self

    @model_validator(mode="after")
    def _says_the_difference_once(self) -> Self:
        if self.delta is not None and self.full_top1_error is not None:
            raise ValueError("'delta' follows from 'top1_error' and 'full_top1_error'; give either it or them")
        return self


class Reference(Strict):
    """One file: a paper and its figures."""

    source: Source
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Published:
    """A published result with its source."""

    source: Source
    entry: Entry
    file: str = ""  # its name in results/reference, without ending
    line: int = 0

    @property
    def at(self) -> str:
        """Where it stands, the same on every machine."""
        return f"results/reference/{self.file}.yaml:{self.line}"

    @property
    def delta(self) -> float | None:
        """Points of accuracy, quantized minus full precision, if the source says or implies it."""
        entry = self.entry
        if entry.delta is not None or entry.top1_error is None or entry.full_top1_error is None:
            return entry.delta
        return entry.full_top1_error - entry.top1_error

    def beside(self, settings: Options) -> Found | None:
        """What it gives a trial with these settings (dotted): itself, or only what is wrong with it; None if it is of others."""
        try:
            if not meets(self.entry.options, settings):
                return None
            return Found(self, next((known.reason for known in self.entry.known if known.holds(settings)), ""))
        except UserError as error:  # one mistyped figure must not hide all others
            return Found(mistakes=(f"{self.at}: {error}",))

    def without_errors(self) -> Published | None:
        """What compares with trials on other data: the difference to full precision and the ratio; None if neither is known."""
        if self.delta is None and self.entry.ratio is None:
            return None
        errors = ("top1_error", "top5_error", "full_top1_error", "full_top5_error")
        kept = self.entry.model_copy(update={**dict.fromkeys(errors), "delta": self.delta})
        return replace(self, entry=kept)

    @property
    def footnote(self) -> str:
        """Source, how the figure is known, and what must be known to read it; or why it is not available."""
        if not self.entry.available:
            return f"{self.source.citation}. Not available: {self.entry.reason}."
        hand = "Second hand, read in" if self.entry.flag == "2nd" else "Read in"
        note = f" ({self.entry.note})" if self.entry.note else ""
        return f"{self.source.citation}. {hand}: {self.entry.read}{note}."


@dataclass(frozen=True)
class Found:
    """What there is to put beside a trial."""

    published: Published | None = None
    known: str = ""  # why such trials fall short of it, if that is known
    mistakes: tuple[str, ...] = ()  # of figures that are left out, each with where it stands


@dataclass(frozen=True)
class References:
    """All published figures, in the order of file names and of entries in a file."""

    published: tuple[Published, ...]

    def find(self, network: str, data: str, method: str, bits: int | None, settings: Options | None = None) -> Found:
        """The figure to put beside a trial with these settings (dotted): of the same width if there is one, else one that
        stands for all widths; among those, the one with most conditions.

        For data that stand for others it is without errors, as those do not compare. One with a condition on a setting that
        there is not is left out, and those with fewer conditions than it has; so are two that fit equally well.
        """
        place = (network, STANDS_FOR.get(data, data), method)
        known = {"method.name": method, **(settings or {})}
        there = [p for p in self.published if p.entry.place == place and p.entry.bits in (bits, None)]
        tried = [(p, found) for p in there if (found := p.beside(known))]
        mistakes = tuple(mistake for _, found in tried for mistake in found.mistakes)
        most = max((_closeness(p) for p, _ in tried), default=None)
        closest = [(p, found) for p, found in tried if _closeness(p) == most and not found.mistakes]
        if len(closest) > 1:
            both = " and ".join(f"{p.entry.options} ({p.at})" for p, _ in closest[:2])
            alike = f"published figures of {', '.join(place)} fit the same trial: options {both}; add a condition"
            return Found(mistakes=(*mistakes, alike))
        if not closest:
            return Found(mistakes=mistakes)
        ((published, found),) = closest
        compares = published.without_errors() if published.entry.available and data in STANDS_FOR else published
        return Found(compares, found.known, mistakes)

    def variant(self, network: str, data: str, bits: int | None, variant: str) -> Found:
        """The figure of a variant, whatever its method is called there; its options are words for readers. Of two there is none."""
        wanted = (network, STANDS_FOR.get(data, data), variant)
        found = [
            p
            for p in self.published
            if (p.entry.network, p.entry.data, p.entry.variant) == wanted and p.entry.bits in (bits, None)
        ]
        if len(found) > 1:
            places = ", ".join(p.at for p in found)
            several = f"published figures of {', '.join(wanted)}: there are {len(found)} ({places}); tell them apart by 'bits'"
            return Found(mistakes=(several,))
        return Found(found[0]) if found else Found()

    def of(self, files: Collection[str]) -> References:
        """Those of some files, named without ending."""
        return References(tuple(p for p in self.published if p.file in files))

    def on(self, network: str, data: str) -> tuple[Published, ...]:
        """Every figure that is available for a network and its data."""
        wanted = network, STANDS_FOR.get(data, data)
        entries = (p for p in self.published if p.entry.available)
        return tuple(p for p in entries if (p.entry.network, p.entry.data) == wanted)


def _closeness(published: Published) -> tuple[bool, int]:
    return published.entry.bits is not None, len(published.entry.options)


def load_references(folder: Path = FOLDER) -> References:
    """Read every `*.yaml` of `folder`. Raises `UserError` naming file, line, key and allowed keys."""
    published = tuple(chain.from_iterable(_read(file) for file in sorted(folder.glob("*.yaml"))))
    if not published:
        raise UserError(f"no published figures (*.yaml) in {folder}; run from the root of the repository")
    keys = Counter(p.entry.key for p in published if not p.entry.variant)
    if twice := [key for key, count in keys.items() if count > 1]:
        places = [f"{p.file}.yaml:{p.line}" for p in published if p.entry.key == twice[0] and not p.entry.variant]
        raise UserError(
            f"{folder}: more than one entry for {twice[0]}, {', '.join(places)}; tell them apart by 'options' or a 'variant'"
        )
    return References(published)


def _read(file: Path) -> Iterator[Published]:
    inner: Inner = {"source": Source, "entries": Entry, "known": Known, "tolerance": Tolerance}
    content, lines = read_strictly(file, Reference, inner)
    for number, entry in enumerate(content.entries):
        yield Published(content.source, entry, file.stem, line_of(lines, ("entries", number)))
