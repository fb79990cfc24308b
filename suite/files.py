"""Durable files: every write is a temporary file, fsync, and `os.replace`; every reader sees the old or the new, never a half."""

from __future__ import annotations

import errno
import itertools
import json
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

PROBE = 2**16  # bytes


def write_atomic(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write(temporary)` fill a file beside `path`, then make it appear as `path` at once. Its folder is made if need be."""
    with _made(path.parent):
        _write(path, write)


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """The folder is there; what had to be made goes again if the body fails."""
    made = list(itertools.takewhile(lambda each: not each.exists(), (folder, *folder.parents)))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for each in made:
            with suppress(OSError):  # somebody else has put something into it
                each.rmdir()
        raise


def _write(path: Path, write: Callable[[Path], object]) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        _fill(temporary, write)
        fsync(temporary)
        temporary.replace(path)
        fsync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write safetensors atomically, for all eyes that the umask allows: the library's own files are for their owner's only."""
    from safetensors.torch import save_file

    def write(temporary: Path) -> None:
        temporary.touch()
        mode = stat.S_IMODE(temporary.stat().st_mode)
        save_file(tensors, temporary)
        temporary.chmod(mode)

    write_atomic(path, write)


def _fill(path: Path, write: Callable[[Path], object]) -> None:
    """Libraries have words of their own for a full disk or quota: after an error of theirs the disk is asked for its reason."""
    try:
        write(path)
    except OSError:
        raise
    except Exception:
        with path.open("ab") as file:
            file.write(bytes(PROBE))
        raise


def fsync(path: Path) -> None:
    """Flush a file, or a directory's entries, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Any) -> None:
    """Write `value` atomically; NaN and infinity are refused, since other JSON readers cannot read them.

    Raises `FileNotFoundError` without a folder: one that was removed while its owner was at work does not come back.
    """
    text = json.dumps(value, indent=1, allow_nan=False) + "\n"
    _write(path, lambda temporary: temporary.write_text(text))


def read_json(path: Path) -> Any:
    """The value in `path`, or None if there is no such file. Raises `ValueError` if it is no JSON."""
    try:
        return json.loads(_text(path))
    except FileNotFoundError:
        return None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _text(path: Path) -> str:
    """The content; read again if another machine replaced the file on NFS meanwhile."""
    try:
        return path.read_text()
    except OSError as error:
        if error.errno != errno.ESTALE:
            raise
        return path.read_text()
