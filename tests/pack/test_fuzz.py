"""A short run of the fuzzer, in a process of its own for the limit of memory; and that it sees what it is to see."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from suite.pack.coders import CODERS
from suite.pack.container import unpacked
from suite.pack.header import KINDS
from suite.pack.plane import LAYOUTS
from tests.pack import fuzz

CASES = 1500


@pytest.mark.parametrize("loops", [[], ["--compiled"]])
def test_changed_files_end_in_an_error_or_in_tensors(tmp_path: Path, loops: list[str]) -> None:
    command = [sys.executable, "-m", "tests.pack.fuzz", *loops, "--cases", str(CASES), "--seconds", "300"]
    checked = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path / "compiled")}
    done = subprocess.run([*command, "--kept", tmp_path], capture_output=True, text=True, check=False, env=checked)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 failures; seed 0, cases 0 to " in done.stdout
    assert "read " in done.stdout  # the changes leave something to read, too


def test_it_starts_with_every_kind_of_tensor_layout_and_coder() -> None:
    contents = [unpacked(file.joined()) for file in fuzz.starts()]
    entries = [(content, entry) for content in contents for entry in content.entries]
    planes = [plane for content, entry in entries for plane in content.planes(entry)]
    assert {entry.kind for _, entry in entries} == set(KINDS)
    names = {(plane.layout, CODERS[stream.coder].name) for plane in planes for stream in plane.streams}
    assert names == {(layout, coder.name) for layout in LAYOUTS for coder in CODERS}
    assert any(plane.layout == "gaps" and plane.values.alphabet == plane.alphabet for plane in planes)  # filled up


def test_a_case_is_known_by_its_number() -> None:
    files = fuzz.starts()[:5]
    assert fuzz.case(files, 3, 14) == fuzz.case(files, 3, 14)
    assert fuzz.case(files, 3, 14) != fuzz.case(files, 4, 14)


def too_much(data: bytes) -> str:
    return str(len(bytes(2 * fuzz.MEMORY)))


def wrong(data: bytes) -> str:
    return str(1 // len(data))


def endless(data: bytes) -> str:
    while True:
        pass


@pytest.mark.parametrize(
    ("read", "words"), [(too_much, "MemoryError"), (wrong, "ZeroDivisionError"), (endless, "TooSlow")]
)
def test_what_it_sees(monkeypatch: pytest.MonkeyPatch, read: Callable[[bytes], str], words: str) -> None:
    monkeypatch.setattr(fuzz, "outcome", read)
    monkeypatch.setattr(fuzz, "SECONDS", 0.1)
    told = fuzz.Told(Counter())
    with fuzz.limits():
        failure = fuzz.tried(b"", told)
    assert failure is not None
    assert words in failure
    assert told.outcomes["FAILED"] == 1
