"""Energy: counters that come round, fail or are not there, the GPU that is meant, and what becomes of it in the report."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from suite import energy
from suite.config import Trial
from suite.energy import FILE, Counter, Energy, card, packages, used
from suite.ledger import Ledger, Work
from suite.report.energy import joules
from suite.report.frame import tidy
from suite.report.web.energy import counted_once
from suite.report.web.energy import energy as sentence
from suite.system import sampled, samples
from suite.trial import run_trial

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
SLQ = {"name": "slq", "bits": 2, "schedule": [1, 2, 3]}


def zone(folder: Path, name: str, microjoules: object, most: object = 262_143_328_850) -> Path:
    """A power zone as Linux shows it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "max_energy_range_uj").write_text(f"{most}\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    return folder / "energy_uj"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two packages, and zones that count the same once more."""
    tree = tmp_path / "powercap"
    for name, text in {
        "intel-rapl:0": "package-0",
        "intel-rapl:1": "package-1",
        "intel-rapl:0:0": "core",
        "intel-rapl:0:1": "dram",
        "intel-rapl:2": "psys",
        "intel-rapl-mmio:0": "package-0",
    }.items():
        zone(tree / name, text, 1_000_000)
    monkeypatch.setattr(energy, "POWERCAP", tree)
    return tree


def test_only_whole_packages_are_counted(machine: Path) -> None:
    assert [counter.name for counter in packages(machine)] == ["cpu:package-0", "cpu:package-1"]


def test_a_reading_is_what_was_used_since_the_beginning(machine: Path, tmp_path: Path) -> None:
    meters = Energy(tmp_path, CPU)
    zone(machine / "intel-rapl:0", "package-0", 3_500_000)
    meters.record()
    found = used(tmp_path)
    assert found is not None
    assert found.joules == {"cpu:package-0": 2.5, "cpu:package-1": 0.0}
    assert found.until >= found.began >= time.time() - 60
    zone(machine / "intel-rapl:0", "package-0", 4_500_000)
    meters.record()
    assert used(tmp_path).joules["cpu:package-0"] == 3.5  # type: ignore[union-attr]


@given(st.integers(1, 99), st.lists(st.integers(0, 98), min_size=1, max_size=20))
def test_a_counter_that_comes_round_between_readings_loses_nothing(span: int, steps: list[int]) -> None:
    """In gigajoules, of which no time of a test lets a second round happen unseen."""
    total = 7
    counter = Counter("cpu:x", lambda: 1e9 * (total % span), 1e9 * span)
    for step in (step % span for step in steps):
        total += step
        assert counter.joules() == 1e9 * (total - 7)


def test_a_counter_that_may_have_come_round_twice_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(energy.time, "monotonic", lambda: now[0])
    counter = Counter("cpu:x", lambda: 5.0, span=60_000.0)  # a hundred seconds at the most that a package takes
    now[0] = 99.0
    assert counter.joules() == 0
    now[0] = 200.0
    assert counter.joules() is None
    now[0] = 201.0
    assert counter.joules() is None, "what came before is lost for good"


@pytest.mark.parametrize("damage", ["", "nan", "x", "-5", None])
def test_a_package_that_cannot_be_read_is_absent(machine: Path, tmp_path: Path, damage: str | None) -> None:
    file = machine / "intel-rapl:1" / "energy_uj"
    if damage is None:
        file.unlink()
    else:
        file.write_text(damage)
    Energy(tmp_path, CPU).record()
    assert used(tmp_path).joules == {"cpu:package-0": 0.0}  # type: ignore[union-attr]


def test_without_leave_to_read_nothing_is_written(
    machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for anybody but root; tests may be root, so the file itself refuses."""

    def refuse(path: Path, *arguments: Any, **more: Any) -> str:
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied", str(path))
        return open(path).read()  # noqa: PTH123

    monkeypatch.setattr(Path, "read_text", refuse)
    Energy(tmp_path, CPU).record()
    assert not (tmp_path / FILE).exists()


def test_a_counter_that_fails_on_the_way_is_left_out(machine: Path, tmp_path: Path) -> None:
    meters = Energy(tmp_path, CPU)
    (machine / "intel-rapl:0" / "energy_uj").unlink()
    meters.record()
    assert used(tmp_path).joules == {"cpu:package-1": 0.0}  # type: ignore[union-attr]
    zone(machine / "intel-rapl:0", "package-0", 9_000_000)
    meters.record()
    assert used(tmp_path).joules == {"cpu:package-1": 0.0}, "part of its energy was not seen"  # type: ignore[union-attr]


# GPUs


class NVMLError(Exception):
    """As pynvml's."""


class Nvml(SimpleNamespace):
    """Two cards; the second one is cut into slices. Millijoules by UUID."""

    NVMLError = NVMLError

    def __init__(self) -> None:
        super().__init__(counters={"GPU-aa": 5_000_000, "GPU-bb": 7_000_000}, has_driver=True)

    def nvmlInit(self) -> None:  # noqa: N802
        if not self.has_driver:
            raise NVMLError("Driver Not Loaded")

    def nvmlDeviceGetHandleByUUID(self, name: str) -> str:  # noqa: N802
        if name not in (*self.counters, "MIG-b1"):
            raise NVMLError("Not Found")
        return name

    def nvmlDeviceIsMigDeviceHandle(self, handle: str) -> bool:  # noqa: N802
        return handle.startswith("MIG-")

    def nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self, handle: str) -> str:  # noqa: N802
        return {"MIG-b1": "GPU-bb"}[handle]

    def nvmlDeviceGetUUID(self, handle: str) -> str:  # noqa: N802
        return handle

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:  # noqa: N802
        if self.counters[handle] is None:
            raise NVMLError("Not Supported")
        return int(self.counters[handle])

    def nvmlDeviceGetUtilizationRates(self, handle: str) -> SimpleNamespace:  # noqa: N802
        raise NVMLError("Not Supported")  # as where a card is cut into slices

    def nvmlDeviceGetMemoryInfo(self, handle: str) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(used={"GPU-aa": 1_000, "GPU-bb": 2_000}[handle])

    def nvmlDeviceGetPowerUsage(self, handle: str) -> int:  # noqa: N802
        return {"GPU-aa": 100_000, "GPU-bb": 250_500}[handle]


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Nvml:
    """In place of NVIDIA's; torch sees the second card as its first one."""
    fake = Nvml()
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="bb"))
    monkeypatch.setattr(energy, "POWERCAP", tmp_path / "no processors")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    return fake


def test_the_card_that_is_used_is_read_by_its_uuid(nvml: Nvml, tmp_path: Path) -> None:
    meters = Energy(tmp_path, CUDA)
    nvml.counters = {"GPU-aa": 9_000_000, "GPU-bb": 7_250_500}
    meters.record()
    assert used(tmp_path).joules == {"gpu:GPU-bb": 250.5}  # type: ignore[union-attr]


@pytest.mark.parametrize("visible", ["MIG-b1", "MIG-b1,GPU-aa", ""])
def test_of_a_slice_the_whole_card_is_read(nvml: Nvml, monkeypatch: pytest.MonkeyPatch, visible: str) -> None:
    """Also where nothing says which one, and torch calls the slice by its own UUID."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="b1"))
    assert [counter.name for counter in card(CUDA)] == ["gpu:GPU-bb"]


def no_driver(fake: Nvml) -> None:
    fake.has_driver = False


def no_card(fake: Nvml) -> None:
    fake.counters = {"GPU-aa": 5}


def no_counter(fake: Nvml) -> None:
    fake.counters["GPU-bb"] = None


@pytest.mark.parametrize("spoil", [no_driver, no_card, no_counter])
def test_a_card_that_cannot_be_read_is_absent(nvml: Nvml, tmp_path: Path, spoil: Callable[[Nvml], None]) -> None:
    spoil(nvml)
    Energy(tmp_path, CUDA).record()
    assert not (tmp_path / FILE).exists()


def test_a_card_whose_counter_begins_anew_is_left_out(nvml: Nvml, tmp_path: Path) -> None:
    meters = Energy(tmp_path, CUDA)
    nvml.counters["GPU-bb"] = 3
    meters.record()
    assert used(tmp_path).joules == {}  # type: ignore[union-attr]


def test_without_the_library_and_on_a_processor_no_card_is_read(
    nvml: Nvml, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Energy(tmp_path, CPU).record()
    monkeypatch.setitem(sys.modules, "pynvml", None)
    Energy(tmp_path, CUDA).record()
    assert not (tmp_path / FILE).exists()


def test_samples_have_what_the_card_that_is_used_tells(nvml: Nvml, tmp_path: Path) -> None:
    with sampled(tmp_path, CUDA):
        pass
    (sample,) = samples(tmp_path)
    assert {"gpu_memory_bytes": 2_000, "gpu_watts": 250.5}.items() <= sample.items()
    assert "gpu_percent" not in sample


@pytest.mark.parametrize("spoil", [no_driver, no_card])
def test_samples_without_a_card_have_the_process_alone(
    nvml: Nvml, tmp_path: Path, spoil: Callable[[Nvml], None]
) -> None:
    spoil(nvml)
    with sampled(tmp_path, CUDA):
        pass
    (sample,) = samples(tmp_path)
    assert sample.keys() == {"t", "cpu_percent", "memory_bytes"}


# In the ledger and in the report


def tried(work: Work, host: str, device: str, record: object) -> None:
    """An attempt that computed; `record` is its energy.json."""
    opened = work.try_claim({})
    assert opened is not None
    with opened.running():
        (opened.path / "provenance.json").write_text(json.dumps({"host": host, "device": device}))
        if record is not None:
            (opened.path / FILE).write_text(json.dumps(record))


def record(joules: dict[str, float], began: float = 0, until: float = 10) -> dict[str, object]:
    return {"schema": 1, "began": began, "until": until, "joules": joules}


def test_a_trial_has_the_sum_of_all_its_attempts_or_nothing(ledger: Ledger) -> None:
    work = ledger.trial("a")
    tried(work, "n", "cuda", record({"gpu:GPU-aa": 3.0, "cpu:package-0": 1.0, "cpu:package-1": 0.5}))
    tried(work, "n", "cuda", record({"gpu:GPU-bb": 4.0}))
    assert joules(work, "gpu") == 7
    assert joules(work, "cpu") is None, "its second attempt could not read them"
    assert joules(ledger.trial("new"), "gpu") is None


@pytest.mark.parametrize(
    "damage",
    [[], {}, record({"gpu:x": float("nan")}), record({"gpu:x": -1}), {**record({}), "joules": 3}, {"schema": 1}],
)
def test_a_damaged_record_is_unknown_and_no_more(ledger: Ledger, damage: object) -> None:
    work = ledger.trial("a")
    tried(work, "n", "cuda", damage)
    assert joules(work, "gpu") is None
    with pytest.raises(ValueError, match="is damaged"):
        used(work.attempts()[0].path)
    assert sentence([work]) == "Energy: no counter could be read."


def test_the_report_counts_devices_once_and_says_how_many_attempts_it_knows(ledger: Ledger) -> None:
    kwh = 3.6e6
    works = [ledger.trial(name) for name in "abcd"]
    tried(works[0], "n", "cuda", record({"gpu:GPU-aa": kwh, "cpu:package-0": kwh}))
    tried(works[1], "n", "cuda", record({"gpu:GPU-bb": kwh, "cpu:package-0": kwh}))  # at the same time on one machine
    tried(works[2], "m", "cpu", record({"cpu:package-0": kwh}))  # of the same name on another
    tried(works[3], "m", "cuda", None)
    text = sentence(works)
    assert "2 kWh of GPUs (counters of whole cards), 2 of 3 attempts readable" in text
    assert "2 kWh of processors (counters of all packages of a machine), 3 of 4 attempts readable" in text


def test_overlapping_times_by_hand() -> None:
    # 10 W for 10 s and 12 W for 10 s; over the five seconds of both, 11 W
    assert counted_once([(0, 10, 10), (5, 15, 12)]) == pytest.approx(50 + 55 + 60)
    assert counted_once([(0, 1, 5), (10, 11, 7)]) == pytest.approx(12)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 9), st.integers(0, 50)), min_size=1, max_size=8))
def test_energy_counted_once_is_the_sum_over_seconds(stints: list[tuple[int, int, int]]) -> None:
    """Against adding up second by second."""
    running = [[w for begin, length, w in stints if begin <= second < begin + length] for second in range(30)]
    expected = sum(sum(watts) / len(watts) for watts in running if watts)
    assert counted_once([(b, b + length, w) for b, length, w in stints]) == pytest.approx(expected)


def test_a_trial_records_it_and_its_result_is_the_same(
    machine: Path, ledger: Ledger, make_trial: Callable[..., Trial], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = make_trial({"name": "kmeans", "bits": 3})
    run_trial(trial, ledger, tmp_path / "data")
    (row,) = tidy(ledger, [trial]).to_dict("records")
    assert row["cpu_joules"] == 0  # the counters of this machine stand still
    assert row["gpu_joules"] != row["gpu_joules"], "not a number: no GPU was used"
    monkeypatch.setattr(energy, "POWERCAP", tmp_path / "none")
    other = Ledger(ledger.root, "other")  # with the same baseline
    run_trial(trial, other, tmp_path / "data")
    first, second = (each.trial(trial.id).result() for each in (ledger, other))
    assert first is not None
    assert second is not None
    assert {**first, "cost": 0} == {**second, "cost": 0}
    assert "no counter" in sentence([other.trial(trial.id)])
