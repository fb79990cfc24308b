"""Commands start quickly: what takes seconds to import is imported by what needs it."""

from __future__ import annotations

import subprocess
import sys


def test_the_command_line_imports_nothing_that_takes_seconds() -> None:
    code = (
        "import sys, suite.cli; print([m for m in ('torch', 'pandas', 'ray', 'mlflow', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
