"""Images in and out: any file that Pillow reads becomes 8-bit RGB; what is written is a PNG with a palette."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from suite.errors import UserError
from suite.files import write_atomic

Pixels = NDArray[np.uint8]  # (H, W, 3)

DEEP = ("I", "F")  # the first letter of the modes with more than 8 bits a channel


def open_picture(path: Path) -> Pixels:
    """Read an image as (H, W, 3) sRGB, upright; transparent parts lie on white, of an animation comes the first picture.

    Raises:
        UserError: if there is no such file, it is no image, too large, or has more than 8 bits a channel.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                return _rgb(image, path)
    except FileNotFoundError:
        raise UserError(f"no image {str(path)!r}") from None
    except UnidentifiedImageError:
        raise UserError(f"{str(path)!r} is not an image that Pillow can read") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UserError(f"{str(path)!r} is too large: {error}") from None
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow's decoders say of torn and malformed files
        raise UserError(f"{str(path)!r} cannot be read as an image: {error}") from None


def _rgb(image: Image.Image, path: Path) -> Pixels:
    if image.mode.startswith(DEEP):
        raise UserError(
            f"{str(path)!r} has more than 8 bits a channel (mode {image.mode}); allowed: 8-bit images, such as RGB or L"
        )
    upright = ImageOps.exif_transpose(image)
    if upright.has_transparency_data:
        solid = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", solid.size, "white"), solid)
    return np.array(upright.convert("RGB"))


def check_target(target: Path | None, source: Path | None) -> None:
    """Raises `UserError` where the result could not or should not be written; None: it is not to be."""
    if target is None:
        return
    if target.suffix.lower() != ".png":
        raise UserError(f"{target.name!r} cannot hold the result, a PNG with a palette: its name must end with .png")
    if source is not None and target.resolve() == source.resolve():
        raise UserError(f"the result would take the place of the image itself, {str(source)!r}")


def write_png(target: Path, palette: NDArray[np.uint8], codes: NDArray[np.uint8]) -> None:
    """Write a palette image: colours (P, 3) and for each pixel (H, W) the index of its own.

    Raises:
        UserError: if the file system refuses.
    """
    image = Image.fromarray(codes)
    image.putpalette(palette.tobytes(), "RGB")
    try:
        write_atomic(target, partial(image.save, format="PNG", optimize=True))
    except OSError as error:
        raise UserError(f"{str(target)!r} cannot be written: {error.strerror}") from None
