"""Texts of the ledger without the paths of the machine that wrote them: tables and reports go to other machines."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_CODE = re.compile(r"""(?<![\w.…])/[^\s"':,;]*/(?=(?:suite|site-packages|python3\.\d+)/)""")  # of a traceback
_FOLDERS = re.compile(r"""(?<![\w.…:/])/(?:[^\s"':,;/]+/)+(?=[^\s"':,;/]+)""")  # of any other absolute path


@dataclass(frozen=True)
class Shorten:
    """Paths below `root` become relative to it, of others only the end is kept."""

    root: Path

    def __call__(self, text: str) -> str:
        below = text.replace(f"{self.root}/", "")
        return _FOLDERS.sub("…/", _CODE.sub("…/", below))
