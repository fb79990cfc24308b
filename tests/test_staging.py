"""Staging data to a node's own disk: same data, once a node, whatever is killed, full, damaged or forged."""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from suite import stop
from suite.data import DATASETS, open_data, staging
from suite.data.staging import LAYOUTS, SUFFIXES, find_archive, stage
from tests.test_data import write_mnist

FORK = multiprocessing.get_context("fork")  # importing everything anew in each process would take longer than the tests
SECONDS = 60
NAMES = [name for name in DATASETS if name != "digits"]

Say = Callable[[str], object]


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data root with MNIST, its four files small, and something that is never staged."""
    write_mnist(tmp_path / "data" / "MNIST" / "raw")
    (tmp_path / "data" / "weights").mkdir()
    (tmp_path / "data" / "weights" / "net.safetensors").write_text("weights")
    return tmp_path / "data"


def write_images(folder: Path, splits: tuple[str, str], classes: int) -> None:
    for split in splits:
        for label in range(classes):
            (folder / split / f"class{label}").mkdir(parents=True)
            Image.new("RGB", (32, 32), (label, 2 * label, len(split))).save(folder / split / f"class{label}" / "a.jpg")


def pack(folder: Path, suffix: str, top: str | None = None, stem: str | None = None) -> Path:
    """Put a folder's content into an archive beside it, below the folder `top` if one is given."""
    path = folder.with_name(f"{stem or folder.name}{suffix}")
    plain = path.with_name("plain.tar") if suffix == ".tar.zst" else path
    mode = {".tar": "w", ".tar.gz": "w:gz", ".tgz": "w:gz", ".tar.xz": "w:xz", ".tar.bz2": "w:bz2", ".tar.zst": "w"}
    with tarfile.open(plain, mode[suffix]) as archive:  # type: ignore[call-overload]
        for entry in folder.iterdir():
            archive.add(entry, f"{top}/{entry.name}" if top else entry.name)
    if plain != path:
        import pyarrow

        with pyarrow.output_stream(str(path), compression="zstd") as stream:
            stream.write(plain.read_bytes())
        plain.unlink()
    return path


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def partials(scratch: Path) -> list[Path]:
    return list(scratch.glob("*/*.partial"))


def fingerprint(name: str, data_root: Path, tmp_path: Path) -> str:
    return open_data(name, data_root, tmp_path / "cache").fingerprint


def never(text: str) -> None:
    pytest.fail(text)


def ignore(text: str) -> None:
    pass


def test_every_data_set_that_has_files_can_be_staged() -> None:
    assert sorted(LAYOUTS) == sorted(NAMES)


@pytest.mark.parametrize("as_archive", [False, True])
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar10-jpeg", "imagenet"])
def test_staged_data_is_the_same_data(name: str, as_archive: bool, tmp_path: Path, scratch: Path) -> None:
    data = tmp_path / "data"
    match name:
        case "mnist":
            write_mnist(data / "MNIST" / "raw", ".gz")
        case "fashion-mnist":
            write_mnist(data / "FashionMNIST" / "raw")
        case "cifar10-jpeg":
            write_images(data / "cifar10-images", ("train", "test"), 10)
        case _:
            write_images(data / "imagenet", ("train", "val"), 3)
    original = fingerprint(name, data, tmp_path)
    if as_archive:
        folder = data / LAYOUTS[name].folder
        pack(folder, ".tar.gz", top=folder.name)
        shutil.rmtree(folder)
    root = stage([name], data, scratch, ignore)
    shutil.rmtree(data)  # nothing is left to fall back to
    assert fingerprint(name, root, tmp_path) == original


@pytest.mark.parametrize("top", [None, "MNIST", "./MNIST"])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_archives(suffix: str, top: str | None, data: Path, scratch: Path) -> None:
    whole = files(data / "MNIST")
    path = pack(data / "MNIST", suffix, top)
    shutil.rmtree(data / "MNIST")
    assert find_archive("mnist", data) == path
    root = stage(["mnist"], data, scratch, ignore)
    assert files(root / "MNIST") == whole
    assert partials(scratch) == []


def test_the_archive_under_its_published_name(tmp_path: Path, scratch: Path) -> None:
    folder = tmp_path / "data" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for name in ("data_batch_1", "test_batch"):
        (folder / name).write_text(name)
    pack(folder, ".tar.gz", folder.name, stem="cifar-10-python")
    shutil.rmtree(folder)
    root = stage(["cifar10"], folder.parent, scratch, ignore)
    assert (root / "cifar-10-batches-py" / "test_batch").read_text() == "test_batch"


def test_the_rest_is_found_where_it_was(data: Path, scratch: Path) -> None:
    root = stage(["mnist"], data, scratch, ignore)
    assert root.is_relative_to(scratch)
    assert (root / "MNIST").resolve().is_relative_to(scratch)
    assert (root / "weights").readlink() == data / "weights"
    assert (root / "weights" / "net.safetensors").read_text() == "weights"


def test_links_in_a_folder_are_followed(data: Path, tmp_path: Path, scratch: Path) -> None:
    (data / "MNIST" / "raw").rename(tmp_path / "elsewhere")
    (data / "MNIST" / "raw").symlink_to(tmp_path / "elsewhere")
    whole = files(tmp_path / "elsewhere")
    root = stage(["mnist"], data, scratch, ignore)
    shutil.rmtree(tmp_path / "elsewhere")
    assert files(root / "MNIST" / "raw") == whole


def test_again_nothing_is_read(data: Path, scratch: Path) -> None:
    first = stage(["mnist"], data, scratch, ignore)
    stamps = {path: path.stat().st_ino for path in scratch.rglob("*")}
    assert stage(["mnist"], data, scratch, never) == first
    assert {path: path.stat().st_ino for path in scratch.rglob("*")} == stamps


def test_nothing_to_stage(data: Path, scratch: Path) -> None:
    assert stage(["mnist"], data, None, never) == data
    assert stage(["digits"], data, scratch, never) == data
    assert stage(["no-such-data"], data, scratch, never) == data
    assert stage(["imagenet"], data, scratch, never) == data  # not there at all: whoever opens it says so
    assert stage([], data, scratch, never) == data


def test_a_changed_source_is_staged_again(data: Path, tmp_path: Path, scratch: Path) -> None:
    first = stage(["mnist"], data, scratch, ignore)
    before = files(first / "MNIST")
    labels = data / "MNIST" / "raw" / "t10k-labels-idx1-ubyte"
    changed = labels.read_bytes()[:-1] + b"\x05"  # of the same size
    labels.write_bytes(changed)
    second = stage(["mnist"], data, scratch, ignore)
    assert (second / "MNIST" / "raw" / labels.name).read_bytes() == changed
    assert files(first / "MNIST") == before  # a trial that reads there is not disturbed
    assert fingerprint("mnist", second, tmp_path) == fingerprint("mnist", data, tmp_path)


def test_a_changed_archive_is_staged_again(data: Path, scratch: Path) -> None:
    pack(data / "MNIST", ".tar")
    first = stage(["mnist"], data, scratch, ignore)
    (data / "MNIST" / "raw" / "more").write_text("more")
    pack(data / "MNIST", ".tar")
    second = stage(["mnist"], data, scratch, ignore)
    assert not (first / "MNIST" / "raw" / "more").exists()
    assert (second / "MNIST" / "raw" / "more").exists()


@pytest.mark.parametrize("loss", ["file", "part of a file", "marker", "half a marker", "link"])
def test_what_a_cleaner_or_a_crash_took_is_staged_again(data: Path, scratch: Path, loss: str) -> None:
    root = stage(["mnist"], data, scratch, ignore)
    whole = files(data / "MNIST")
    (marker,) = scratch.glob("*/MNIST-*.json")
    image = root / "MNIST" / "raw" / "train-images-idx3-ubyte"
    match loss:
        case "file":
            image.unlink()
        case "part of a file":
            image.write_bytes(image.read_bytes()[:100])
        case "marker":
            marker.unlink()
        case "half a marker":
            marker.write_text(marker.read_text()[:20])
        case _:
            (root / "MNIST").unlink()
    assert stage(["mnist"], data, scratch, ignore) == root
    assert files(root / "MNIST") == whole
    assert marker.exists()


def in_process(work: Callable[[], object]) -> multiprocessing.process.BaseProcess:
    process = FORK.Process(target=work, daemon=True)
    process.start()
    return process


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.01)


def stuck_in_the_middle(data: Path, scratch: Path) -> Callable[[], None]:
    """A stager that writes two files, or two members of an archive, and then no more."""

    def work() -> None:
        count = 0

        def check() -> None:
            nonlocal count
            count += 1
            if count > 4:
                (scratch / "stuck").touch()
                time.sleep(10 * SECONDS)

        staging.stop.check = check  # type: ignore[assignment]  # in this process only
        stage(["mnist"], data, scratch, ignore)

    return work


@pytest.mark.parametrize("suffix", [None, ".tar", ".tar.xz"])
def test_killed_in_the_middle(data: Path, scratch: Path, suffix: str | None) -> None:
    if suffix:
        pack(data / "MNIST", suffix)
    process = in_process(stuck_in_the_middle(data, scratch))
    wait_for((scratch / "stuck").exists)
    (partial,) = partials(scratch)
    assert files(partial)  # something was written
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    root = stage(["mnist"], data, scratch, ignore)
    assert root != data
    assert files(root / "MNIST") == files(data / "MNIST")
    assert partials(scratch) == []


def test_who_waits_takes_over_from_the_killed(data: Path, scratch: Path) -> None:
    first = in_process(stuck_in_the_middle(data, scratch))
    wait_for((scratch / "stuck").exists)
    said = scratch / "said"

    def work() -> None:
        with said.open("a", buffering=1) as file:
            stage(["mnist"], data, scratch, lambda text: file.write(f"{text}\n"))

    second = in_process(work)
    wait_for(lambda: said.exists() and "waiting" in said.read_text())
    assert "staging" not in said.read_text()
    assert first.pid is not None
    os.kill(first.pid, signal.SIGKILL)
    first.join()
    second.join(SECONDS)
    assert second.exitcode == 0
    assert "staged MNIST" in said.read_text()
    assert files(stage(["mnist"], data, scratch, never) / "MNIST") == files(data / "MNIST")


@pytest.mark.parametrize("suffix", [None, ".tar.gz"])
def test_many_processes_stage_once(data: Path, scratch: Path, suffix: str | None) -> None:
    if suffix:
        pack(data / "MNIST", suffix)
    whole, barrier = files(data / "MNIST"), FORK.Barrier(8)

    def work(number: int) -> None:
        lines: list[str] = []
        barrier.wait(SECONDS)
        root = stage(["mnist"], data, scratch, lines.append)
        assert files(root / "MNIST") == whole
        assert root != data
        (scratch / f"said{number}").write_text("\n".join(lines))

    processes = [in_process(lambda number=number: work(number)) for number in range(8)]  # type: ignore[misc]
    for process in processes:
        process.join(SECONDS)
    assert [process.exitcode for process in processes] == [0] * 8
    lines = [line for path in scratch.glob("said*") for line in path.read_text().splitlines()]
    assert sum(line.startswith("staging ") for line in lines) == 1
    assert len(list(scratch.glob("*/root-*"))) == 1


def refused(data: Path, scratch: Path | None, *wanted: str, name: str = "mnist") -> str:
    """Stage where it cannot work: the original is used, and what was said."""
    lines: list[str] = []
    assert stage([name], data, scratch, lines.append) == data
    assert scratch is None or partials(scratch) == []
    said = "\n".join(lines)
    for text in wanted:
        assert re.search(text, said), said
    return said


def room(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    usage = shutil._ntuple_diskusage(10**12, 10**12 - free, free)  # type: ignore[attr-defined]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)


def test_no_room(data: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (data / "MNIST" / "raw" / "large").write_bytes(bytes(40_000_000))
    room(monkeypatch, staging.SPARE + 20_000_000)
    refused(data, scratch, r"MNIST needs 107\.2 MB, .*scratch.* has 87\.1 MB free; reading it from ")
    assert not list(scratch.glob("*/MNIST-*"))


def test_no_room_for_what_is_in_a_small_archive(data: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (data / "MNIST" / "raw" / "zeros").write_bytes(bytes(50_000_000))  # 7 kB packed
    archive = pack(data / "MNIST", ".tar.xz")
    assert archive.stat().st_size < 100_000
    room(monkeypatch, staging.SPARE + 10_000_000)
    refused(data, scratch, r"MNIST\.tar\.xz needs 117\.1 MB, .* has 77\.1 MB free")


@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0 or not shutil.which("unshare"), reason="needs root, to mount a small disk")
def test_a_disk_that_is_really_full(data: Path, scratch: Path) -> None:
    """The system's own ENOSPC, past all checks."""
    (data / "MNIST" / "raw" / "noise").write_bytes(os.urandom(3_000_000))
    code = f"""
from pathlib import Path
from suite.data import staging
staging.SPARE = -10**12
print(staging.stage(["mnist"], Path({str(data)!r}), Path({str(scratch)!r}), print))
print(sorted(p.name for p in Path({str(scratch)!r}).glob("*/*")))
"""
    script = f'mount -t tmpfs -o size=1m slq-test {scratch} && exec "$0" -c "$1"'
    command = ["unshare", "--mount", "bash", "-c", script, sys.executable, code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent.parent)
    if "mount:" in done.stderr or "unshare:" in done.stderr:
        pytest.skip(f"cannot mount here: {done.stderr.strip()}")
    assert "MNIST is not staged: [Errno 28]" in done.stdout, done.stderr
    assert done.stdout.splitlines()[-2:] == [str(data), "['MNIST.lock']"]


def add(archive: tarfile.TarFile, name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> None:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    archive.addfile(member)


@pytest.mark.parametrize("old_python", [False, True])
@pytest.mark.parametrize("evil", ["up", "link", "link up", "hard link", "device"])
def test_archives_that_reach_out_are_refused(
    data: Path, scratch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, evil: str, old_python: bool
) -> None:
    if old_python:
        monkeypatch.delattr(tarfile, "data_filter")
    with tarfile.open(data / "MNIST.tar", "w") as archive:
        archive.add(data / "MNIST", "MNIST")
        match evil:
            case "up":
                add(archive, "MNIST/../../../../evil")
            case "link":
                add(archive, "MNIST/there", tarfile.SYMTYPE, str(tmp_path))
                add(archive, "MNIST/there/evil")
            case "link up":
                add(archive, "MNIST/there", tarfile.SYMTYPE, "../../../..")
                add(archive, "MNIST/there/evil")
            case "hard link":
                add(archive, "MNIST/there", tarfile.LNKTYPE, "../../../../secret")
            case _:
                add(archive, "MNIST/null", tarfile.CHRTYPE)
    (tmp_path / "secret").write_text("secret")
    refused(data, scratch, "MNIST is not staged: [A-Za-z]+Error: ")
    assert not list(tmp_path.rglob("evil"))


def test_an_absolute_name_stays_inside(data: Path, scratch: Path, tmp_path: Path) -> None:
    with tarfile.open(data / "MNIST.tar", "w") as archive:
        archive.add(data / "MNIST", "MNIST")
        add(archive, f"{tmp_path}/evil")
    stage(["mnist"], data, scratch, ignore)
    assert not (tmp_path / "evil").exists()


def test_an_old_python_unpacks_too(data: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(tarfile, "data_filter")
    pack(data / "MNIST", ".tar.gz", "MNIST")
    root = stage(["mnist"], data, scratch, ignore)
    assert root != data
    assert files(root / "MNIST") == files(data / "MNIST")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_damaged_archives(data: Path, scratch: Path, suffix: str) -> None:
    path = pack(data / "MNIST", suffix)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refused(data, scratch, "MNIST is not staged: ")
    path.write_text("no archive")
    refused(data, scratch, "MNIST is not staged: ")


def test_an_archive_of_something_else(data: Path, scratch: Path) -> None:
    pack(data / "weights", ".tar", stem="MNIST")
    refused(data, scratch, r"MNIST\.tar does not hold MNIST/raw")


def test_one_that_cannot_be_staged_does_not_hinder_others(data: Path, scratch: Path) -> None:
    (data / "imagenet.tar").write_text("damaged")
    write_images(data / "imagenet", ("train", "val"), 2)
    lines: list[str] = []
    root = stage(["imagenet", "mnist"], data, scratch, lines.append)
    assert (root / "MNIST").resolve().is_relative_to(scratch)
    assert (root / "imagenet").resolve() == data / "imagenet"
    assert any(line.startswith("imagenet is not staged") for line in lines)


def test_scratch_that_cannot_be_used(data: Path, tmp_path: Path) -> None:
    refused(data, tmp_path / "nowhere", "no data is staged: .*nowhere")
    (tmp_path / "file").write_text("")
    lines: list[str] = []
    assert stage(["mnist"], data, tmp_path / "file", lines.append) == data
    assert "Not a directory" in lines[0]


@pytest.mark.parametrize("theirs", ["link", "folder"])
def test_a_folder_that_somebody_else_made_is_not_trusted(
    data: Path, scratch: Path, tmp_path: Path, theirs: str
) -> None:
    base = scratch / f"slq-data-{os.getuid()}"
    if theirs == "link":
        (tmp_path / "theirs").mkdir()
        base.symlink_to(tmp_path / "theirs")
    elif os.getuid() == 0:
        base.mkdir()
        os.chown(base, 65534, 65534)
    else:
        pytest.skip("needs root, to make a folder of another user")
    refused(data, scratch, "is not a folder of this user")
    assert list(base.iterdir()) == []


def test_a_source_that_changes_while_it_is_read(data: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copyfile = shutil.copyfile

    def copy(source: Path, target: Path) -> None:
        copyfile(source, target)
        (data / "MNIST" / "raw" / "more").write_text("more")

    monkeypatch.setattr(shutil, "copyfile", copy)
    refused(data, scratch, "changed while it was read")


def test_a_request_to_stop_is_honoured(data: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copyfile = shutil.copyfile

    def copy(source: Path, target: Path) -> None:
        copyfile(source, target)
        stop.request("preempted")

    monkeypatch.setattr(shutil, "copyfile", copy)
    with pytest.raises(stop.Stopped, match="preempted"):
        stage(["mnist"], data, scratch, ignore)
    assert not list(scratch.glob("*/MNIST-*"))
    stop.clear()
    monkeypatch.undo()
    assert stage(["mnist"], data, scratch, ignore) != data  # the lock is free


def test_a_request_to_stop_is_honoured_while_waiting(data: Path, scratch: Path) -> None:
    other = in_process(stuck_in_the_middle(data, scratch))
    try:
        wait_for((scratch / "stuck").exists)
        with pytest.raises(stop.Stopped):
            stage(["mnist"], data, scratch, lambda text: stop.request(text))
    finally:
        other.kill()
        other.join()
