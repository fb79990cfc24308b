"""Energy that an attempt's devices take, where their counters can be read: `energy.json` in the attempt's folder.

    {"schema": 1, "began": 1700000000.0, "until": 1700000060.0, "joules": {"gpu:GPU-...": 9000.0, "cpu:package-0": 3000.0}}

GPUs: the driver's counter (NVML, since Volta) of the card that is used, all of it, also where only a share or a MIG slice belongs
to the attempt. Processors: the counters of all packages of the machine (RAPL), whoever uses them; memory and the rest of the
machine are not in them, and many systems let only root read them. Both are thus upper bounds where others work beside.
What cannot be read is absent, never 0. The file is renewed with each checkpoint, so that a kill loses what came after the last one.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from suite.files import read_json, write_json

FILE, SCHEMA = "energy.json", 1
POWERCAP = Path("/sys/class/powercap")
MOST_WATTS = (
    600.0  # of a processor package; if its counter could have come round twice since the last reading, it says nothing
)
UNREADABLE = (OSError, ValueError)  # what reading a counter raises


@dataclass
class Counter:
    """One device's energy from now on; `name` is "gpu:<UUID>" or "cpu:<package>"."""

    name: str
    read: Callable[[], float]  # joules; raises `UNREADABLE`
    span: float = math.inf  # joules after which it begins again at 0
    _last: float | None = field(init=False)
    _at: float = field(init=False)
    _total: float = 0.0

    def __post_init__(self) -> None:
        self._last, self._at = self._now(), time.monotonic()

    def joules(self) -> float | None:
        """Since it was made; None, and from then on, if a reading has failed or could hide a whole round."""
        now, at = self._now(), time.monotonic()
        last, since = self._last, at - self._at
        if now is None or last is None or self.span < MOST_WATTS * since or (now < last and math.isinf(self.span)):
            self._last = None
            return None
        self._total += now - last if now >= last else now - last + self.span
        self._last, self._at = now, at
        return self._total

    def _now(self) -> float | None:
        try:
            value = self.read()
        except UNREADABLE:
            return None
        return value if math.isfinite(value) and value >= 0 else None


class Energy:
    """Of one attempt, from now on."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        """Begin to count.

        Args:
            folder: the attempt's.
            device: on which the attempt computes. A GPU's counter is read only if it is used.
        """
        self._file, self._began = folder / FILE, time.time()
        found = [*packages(POWERCAP), *card(device)]
        self._counters = [counter for counter in found if counter.joules() is not None]
        self.record()  # an attempt that is killed before its first checkpoint is readable, too

    def record(self) -> None:
        """Write what was used so far; nothing if there was no counter to read. One that failed since is left out."""
        if self._counters:
            used = {counter.name: counter.joules() for counter in self._counters}
            joules = {name: round(value, 3) for name, value in used.items() if value is not None}
            times = {"began": round(self._began, 3), "until": round(time.time(), 3)}
            write_json(self._file, {"schema": SCHEMA, **times, "joules": joules})


def packages(powercap: Path) -> Iterator[Counter]:
    """The machine's processor packages, from Linux's tree of power zones (kernel documentation, power/powercap).

    Not the zones inside of a package, nor "psys" and the memory-mapped twins, which count the same once more.
    """
    for zone in sorted(powercap.glob("intel-rapl:*")):
        try:
            name, most = (zone / "name").read_text().strip(), _microjoules(zone / "max_energy_range_uj")
        except UNREADABLE:
            continue
        if zone.name.count(":") == 1 and name.startswith("package"):
            yield Counter(f"cpu:{name}", partial(_microjoules, zone / "energy_uj"), most)


def _microjoules(file: Path) -> float:
    return int(file.read_text()) / 1e6


@dataclass(frozen=True)
class Card:
    """A GPU as NVML knows it, by its library and its handle there; `uuid` is "GPU-..."."""

    nvml: Any
    handle: Any
    uuid: str

    def read(self, what: str) -> Any:
        """The answer of `nvmlDeviceGet<what>`. Raises OSError if the card or its driver has none."""
        try:
            return getattr(self.nvml, f"nvmlDeviceGet{what}")(self.handle)
        except self.nvml.NVMLError as error:
            raise OSError(str(error)) from error


def card(device: torch.device) -> Iterator[Counter]:
    """The counter of the GPU behind a CUDA device; none if the driver does not say."""
    if found := find_card(device):
        yield Counter(f"gpu:{found.uuid}", lambda: float(found.read("TotalEnergyConsumption")) / 1e3)


def find_card(device: torch.device) -> Card | None:
    """The GPU that is used; None if the driver does not say, or the device is no CUDA device."""
    if device.type != "cuda":
        return None
    try:
        import pynvml  # type: ignore[import-untyped]
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        handle = _handle(pynvml, device)
        return Card(pynvml, handle, _text(pynvml.nvmlDeviceGetUUID(handle)))
    except (pynvml.NVMLError, LookupError, AttributeError):  # no driver, no such device, an old torch without UUIDs
        return None


def _handle(nvml: Any, device: torch.device) -> Any:
    """NVML's handle of a CUDA device. Raises LookupError if NVML knows none of its names."""
    for name in _names(device):
        try:
            handle = nvml.nvmlDeviceGetHandleByUUID(name)
        except nvml.NVMLError:
            continue
        # slices have no counter of their own
        is_slice = nvml.nvmlDeviceIsMigDeviceHandle(handle)
        return nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle) if is_slice else handle
    raise LookupError(f"NVML knows no device {' or '.join(_names(device))}")


def _names(device: torch.device) -> list[str]:
    """What the device may be called. By UUID, since CUDA and NVML count devices in different orders."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    slices = [entry.strip() for entry in visible if entry.strip().startswith("MIG-")]
    if slices:  # a process sees one slice only: the first
        return slices[:1]
    identity = str(torch.cuda.get_device_properties(device).uuid).removeprefix("GPU-")
    return [f"GPU-{identity}", f"MIG-{identity}"]


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


@dataclass(frozen=True)
class Used:
    """What an attempt's `energy.json` says; times in seconds since 1970."""

    began: float
    until: float
    joules: dict[str, float]

    def of(self, kind: str) -> dict[str, float]:
        """Joules of its devices of a kind, "gpu" or "cpu"."""
        return {name: value for name, value in self.joules.items() if name.startswith(f"{kind}:")}


def used(attempt: Path) -> Used | None:
    """What is known of the attempt in this folder, None if nothing is. Raises ValueError for a damaged file."""
    content = read_json(attempt / FILE)
    if content is None:
        return None
    try:
        found = Used(
            float(content["began"]),
            float(content["until"]),
            {str(name): float(value) for name, value in content["joules"].items()},
        )
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{attempt / FILE} is damaged ({error!r})") from None
    values = [found.began, found.until, *found.joules.values()]
    if not all(math.isfinite(value) and value >= 0 for value in values):
        raise ValueError(f"{attempt / FILE} is damaged: {values} are no times and joules")
    return found
