"""Unpack tar archives without trusting them."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

Refused = tarfile.TarError  # what `unpack` raises for a damaged archive, and for one that reaches out of its folder


def unpack(
    archive: tarfile.TarFile, folder: Path, before: Callable[[tarfile.TarInfo], object] = lambda member: None
) -> None:
    """Unpack into `folder`; `Refused` for absolute paths, `..`, links that leave the folder, devices.

    `before` is called with each member before it is written; it may raise.
    """
    safe = hasattr(tarfile, "data_filter")
    for_all = _announced(archive, before) if safe else _strict(archive, folder, before)
    if safe:
        archive.extractall(folder, for_all, filter="data")
    else:
        archive.extractall(folder, for_all)


def _announced(archive: tarfile.TarFile, before: Callable[[tarfile.TarInfo], object]) -> Iterator[tarfile.TarInfo]:
    for member in archive:
        before(member)
        yield member


def _strict(
    archive: tarfile.TarFile, folder: Path, before: Callable[[tarfile.TarInfo], object]
) -> Iterator[tarfile.TarInfo]:
    """For Python before 3.11.4, which has no filters: no links at all, which is stricter than they are."""
    root = os.path.realpath(folder)
    for member in _announced(archive, before):
        place = os.path.realpath(folder / member.name)
        if os.path.commonpath([place, root]) != root or not (member.isfile() or member.isdir()):
            raise tarfile.ReadError(f"{member.name!r} is neither file nor folder, or lies outside of the archive")
        member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
        yield member
