"""Data sets brought once a node to its own disk, which many trials then read without troubling the network.

    <scratch>/slq-data-<user>/<folder>-<key>/        a data set; the key changes when its source does
                             /<folder>-<key>.json    written last: it is all there
                             /<folder>-<key>.partial being written, or left by somebody who was killed
                             /<folder>.lock          held while writing; the system frees it when its holder dies
                             /root-<key>/            a data root: links to what is here and, for the rest, to the original

A source is an archive <folder>.tar[.gz|.xz|.bz2|.zst] in the data root or the folder itself. The archive comes first: it is
read in one piece, a folder file by file. Nothing here is ever changed in place, so trials that read go on undisturbed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from suite import stop
from suite.files import read_json, write_json
from suite.unpack import unpack

SCHEMA = 1
SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".tar.zst")
SPARE = 64 * 2**20  # bytes of scratch that stay free
BLOCK = 4096  # bytes by which a file may take more room than its size
POLL = 0.5  # seconds between looks at a lock and at requests to stop

Say = Callable[[str], object]


@dataclass(frozen=True)
class Layout:
    """Where a data set lies below a data root: the folder, what must be in it, other names its archive may have."""

    folder: str
    parts: tuple[str, ...]
    archives: tuple[str, ...] = ()


LAYOUTS = {
    "mnist": Layout("MNIST", ("raw",)),
    "fashion-mnist": Layout("FashionMNIST", ("raw",)),
    "cifar10": Layout("cifar-10-batches-py", ("data_batch_1", "test_batch"), ("cifar-10-python",)),
    "cifar100": Layout("cifar-100-python", ("train", "test")),
    "cifar10-jpeg": Layout("cifar10-images", ("train", "test")),
    "imagenet": Layout("imagenet", ("train", "val")),
}


def stage(datasets: Iterable[str], data_root: Path, scratch: Path | None, say: Say) -> Path:
    """Bring the data sets to `scratch`; returns the data root to use instead of `data_root`.

    Where that fails or nothing is to be brought, trials read from the original: `say` is told why, nothing is raised but
    `stop.Stopped`.
    """
    wanted = [LAYOUTS[name] for name in dict.fromkeys(datasets) if name in LAYOUTS]
    if scratch is None or not wanted:
        return data_root
    try:
        data_root = data_root.absolute()
        base = _base(scratch.absolute())
        staged = {layout.folder: place for layout in wanted if (place := _try(layout, data_root, base, say))}
        return _root(base, data_root, staged) if staged else data_root
    except OSError as error:
        say(f"no data is staged: {error}; reading it from {data_root}")
        return data_root


def find_archive(name: str, data_root: Path) -> Path | None:
    """The archive of data set `name` in the data root, None if there is none."""
    return _archive(LAYOUTS[name], data_root) if name in LAYOUTS else None


def _archive(layout: Layout, data_root: Path) -> Path | None:
    stems = (layout.folder, *layout.archives)
    places = (data_root / f"{stem}{suffix}" for stem in stems for suffix in SUFFIXES)
    return next((place for place in places if place.is_file()), None)


def _base(scratch: Path) -> Path:
    """Our own folder in scratch, which may be a /tmp where others could have made one of that name. May raise OSError."""
    base = scratch / f"slq-data-{os.getuid()}"
    base.mkdir(mode=0o700, exist_ok=True)
    found = base.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise OSError(f"{base} is not a folder of this user")
    return base


def _try(layout: Layout, data_root: Path, base: Path, say: Say) -> Path | None:
    """Where the data set is now, None if it could not be brought, for whatever reason: the original is still there."""
    try:
        path = _archive(layout, data_root) or data_root / layout.folder
        return _bring(_look(layout, path), base, say) if path.exists() else None
    except Exception as error:
        what = error if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        say(f"{layout.folder} is not staged: {what}; reading it from {data_root}")
        return None


@dataclass(frozen=True)
class _Source:
    """What is to be brought. `size` in bytes is what it will take at least, `key` is that of names, sizes and times."""

    layout: Layout
    path: Path
    size: int
    key: str

    @property
    def is_archive(self) -> bool:
        return self.path.name != self.layout.folder


def _look(layout: Layout, path: Path) -> _Source:
    digest, size = hashlib.sha256(os.fsencode(path)), 0
    for name, found in _files(path) if path.is_dir() else [("", path.stat())]:
        digest.update(os.fsencode(f"\n{name}\0{found.st_size} {found.st_mtime_ns}"))
        size += found.st_size + (BLOCK if name else 0)
    return _Source(layout, path, size, digest.hexdigest())


def _files(folder: Path, below: str = "") -> Iterator[tuple[str, os.stat_result]]:
    """Names and facts of all files below a folder, also behind links, in a fixed order."""
    with os.scandir(folder / below) as scan:
        entries = sorted(scan, key=lambda entry: entry.name)
    for entry in entries:
        name = f"{below}{entry.name}"
        if entry.is_dir():
            yield from _files(folder, f"{name}/")
        else:
            yield name, entry.stat()


def _bring(source: _Source, base: Path, say: Say) -> Path:
    """Copy or unpack, unless that has been done; others who want the same wait."""
    place = base / f"{source.layout.folder}-{source.key[:16]}"
    if _is_complete(place):  # without waiting: looking takes seconds where there are a million files
        return place
    with _locked(base / f"{source.layout.folder}.lock", say):
        partial = place.with_name(f"{place.name}.partial")
        _remove_leftovers(base, source.layout)
        if _is_complete(place):
            return place
        _remove(place)
        _check_room(source.size, source.path, base)
        say(f"staging {source.path} ({_readable(source.size)}) to {place}")
        began = time.monotonic()
        try:
            _write(source, partial, place)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        say(f"staged {source.layout.folder} in {time.monotonic() - began:.0f} s")
    return place


@contextmanager
def _locked(path: Path, say: Say) -> Iterator[None]:
    """Wait for the lock as long as it takes, unless a stop is asked for."""
    lock, waited = FileLock(path), False
    while not lock.is_locked:
        stop.check()
        try:
            lock.acquire(timeout=POLL, poll_interval=POLL / 10)
        except Timeout:
            if not waited:
                say(f"another process stages {path.stem} on this node; waiting for it")
            waited = True
    try:
        yield
    finally:
        lock.release()


def _remove_leftovers(base: Path, layout: Layout) -> None:
    """Whoever holds the lock knows that nobody is writing."""
    for partial in base.glob(f"{layout.folder}-*.partial"):
        shutil.rmtree(partial, ignore_errors=True)


def _write(source: _Source, partial: Path, place: Path) -> None:
    partial.mkdir()
    if source.is_archive:
        _unpack(source, partial)
    else:
        _copy(source, partial)
    if _look(source.layout, source.path) != source:
        raise OSError(f"{source.path} changed while it was read")
    _inner(source, partial).rename(place)
    write_json(_marker(place), {"schema": SCHEMA, "source": str(source.path), "key": source.key, **_measure(place)})


def _copy(source: _Source, partial: Path) -> None:
    for name, _ in _files(source.path):
        stop.check()
        (partial / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source.path / name, partial / name)


def _unpack(source: _Source, partial: Path) -> None:
    def before(member: tarfile.TarInfo) -> None:
        stop.check()
        _check_room(member.size, source.path, partial)  # here, since nobody knows how much is in what is compressed

    with _opened(source.path) as archive:
        unpack(archive, partial, before)


@contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    if path.suffix != ".zst":
        with tarfile.open(path) as archive:
            yield archive
        return
    import pyarrow  # type: ignore[import-untyped]  # takes a while

    with (
        pyarrow.input_stream(str(path), compression="zstd") as stream,
        tarfile.open(fileobj=stream, mode="r|") as archive,
    ):
        yield archive


def _inner(source: _Source, partial: Path) -> Path:
    """The data set's folder in what was unpacked: archives may or may not have it at their top."""
    layout = source.layout
    for folder in (partial / layout.folder, partial):
        if all((folder / part).exists() for part in layout.parts):
            return folder
    parts = " and ".join(f"{layout.folder}/{part}" for part in layout.parts)
    raise OSError(f"{source.path} does not hold {parts}")


def _check_room(size: int, source: Path, scratch: Path) -> None:
    free = shutil.disk_usage(scratch).free
    if size + SPARE > free:
        raise OSError(f"{source} needs {_readable(size + SPARE)}, {scratch} has {_readable(free)} free")


def _readable(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def _is_complete(place: Path) -> bool:
    """Whether all is there that was when the marker was written: cleaners of /tmp remove single old files."""
    try:
        marker: dict[str, Any] | None = read_json(_marker(place))
        return marker is not None and {"files": marker["files"], "bytes": marker["bytes"]} == _measure(place)
    except (OSError, ValueError, LookupError, TypeError):
        return False


def _measure(place: Path) -> dict[str, int]:
    sizes = [found.st_size for _, found in _files(place)]
    return {"files": len(sizes), "bytes": sum(sizes)}


def _marker(place: Path) -> Path:
    return place.with_name(f"{place.name}.json")


def _remove(place: Path) -> None:
    _marker(place).unlink(missing_ok=True)
    shutil.rmtree(place, ignore_errors=True)


def _root(base: Path, data_root: Path, staged: dict[str, Path]) -> Path:
    """A data root of links. Its name stands for its content, so that a changed one is another one."""
    links = {entry.name: entry for entry in data_root.iterdir()} | staged
    text = "".join(f"{name}\0{target}\n" for name, target in sorted(links.items()))
    root = base / f"root-{hashlib.sha256(os.fsencode(text)).hexdigest()[:16]}"
    root.mkdir(exist_ok=True)
    for name, target in links.items():
        with suppress(FileExistsError):
            (root / name).symlink_to(target)
    return root
