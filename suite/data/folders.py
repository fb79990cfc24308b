"""Images as files, one folder per class: `<root>/<class>/<image>`."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from suite.data.missing import missing
from suite.errors import UserError

_SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class ImageFiles:
    """The images of one split. Classes are numbered in the order of their folders' names."""

    root: Path
    classes: tuple[str, ...]
    names: tuple[str, ...]  # relative to the root, sorted within a class
    labels: tuple[int, ...]
    digest: str  # SHA-256 (hex) of names and file sizes

    def read(self, index: int) -> Image.Image:
        """Image `index` in RGB; UserError if it cannot be decoded."""
        path = self.root / self.names[index]
        try:
            with Image.open(path) as image:
                return image.convert("RGB")
        except OSError as error:
            raise UserError(f"cannot read image {path}: {error}; fetch it again") from error


def class_folders(title: str, root: Path) -> tuple[str, ...]:
    """Sorted names of the class folders; UserError if there are none."""
    names = tuple(sorted(entry.name for entry in os.scandir(root) if entry.is_dir())) if root.is_dir() else ()
    if not names:
        raise missing(title, "one folder of images per class", root / "<class>")
    return names


def list_images(title: str, root: Path) -> ImageFiles:
    """List every image once, with its size; UserError if there are none."""
    classes = class_folders(title, root)
    names: list[str] = []
    labels: list[int] = []
    digest = hashlib.sha256()
    for label, folder in enumerate(classes):
        for name, size in sorted(_images(root / folder)):
            names.append(f"{folder}/{name}")
            labels.append(label)
            digest.update(f"{names[-1]}\0{size}\n".encode())
    if not names:
        raise missing(title, f"images ({', '.join(_SUFFIXES)})", root / classes[0])
    return ImageFiles(root, classes, tuple(names), tuple(labels), digest.hexdigest())


def _images(folder: Path) -> Iterator[tuple[str, int]]:
    for entry in os.scandir(folder):
        if entry.name.lower().endswith(_SUFFIXES):
            yield entry.name, entry.stat().st_size


def list_splits(title: str, train: Path, test: Path) -> tuple[ImageFiles, ImageFiles]:
    """Both splits; UserError unless they have the same class folders, since labels are positions among those."""
    found = list_images(title, train), list_images(title, test)
    odd = sorted(set(found[0].classes) ^ set(found[1].classes))
    if odd:
        raise UserError(f"{title}: class folders differ between {train} and {test}: only one has {', '.join(odd[:5])}")
    return found


def joint_digest(splits: Iterable[ImageFiles]) -> str:
    """SHA-256 (hex) that stands for several splits."""
    return hashlib.sha256("".join(split.digest for split in splits).encode()).hexdigest()
