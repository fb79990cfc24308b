"""Unpack tar archives without trusting them."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

Refused = tarfile.TarError  # what `unpack` raises for a damaged archive, and for one that reaches out of its folder


def unpack(archive: tarfile.TarFile, folder: Path) -> None:
    """Unpack into `folder`; `Refused` for absolute paths, `..`, links that leave the folder, devices."""
    if hasattr(tarfile, "data_filter"):
        archive.extractall(folder, filter="data")
        return
    for member in archive:  # Python before 3.11.4: no links at all, which is stricter
        _check(member, folder)
        archive.extract(member, folder)


def _check(member: tarfile.TarInfo, folder: Path) -> None:
    place = os.path.realpath(folder / member.name)
    inside = os.path.commonpath([place, os.path.realpath(folder)]) == os.path.realpath(folder)
    if not inside or not (member.isfile() or member.isdir()):
        raise tarfile.ReadError(f"{member.name!r} is neither file nor folder, or lies outside of the archive's folder")
    member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
