"""Commands of Slurm, run with a limit of time and in plain words, whatever the user's environment says."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

PATIENCE = 30.0  # seconds for an answer
PLAIN = {"SLURM_TIME_FORMAT": "%s", "SLURM_BITSTR_LEN": "0", "LC_ALL": "C.UTF-8"}  # 0: array ranges are not cut


class NoAnswerError(Exception):
    """A command is missing, failed, or took too long; the text says which."""


@dataclass(frozen=True)
class Answer:
    """Of a command: whether it succeeded, and what it said."""

    ok: bool
    out: str
    error: str


def run(command: Sequence[str], *, stdin: str = "", patience: float = PATIENCE) -> Answer:
    """Raises `NoAnswerError` for a command that is missing or silent for too long, not for one that fails."""
    environment = {**os.environ, **PLAIN}
    try:
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, errors="replace", timeout=patience, env=environment
        )
    except FileNotFoundError:
        raise NoAnswerError(f"there is no {command[0]} here") from None
    except OSError as error:
        raise NoAnswerError(f"{command[0]}: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise NoAnswerError(f"{command[0]} did not answer within {patience:g} s") from None
    return Answer(done.returncode == 0, done.stdout, done.stderr.strip())
