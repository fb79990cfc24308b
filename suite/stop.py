"""A request to stop, honoured where nothing is lost: the training loop looks for it after every step, and saves first.

Signals and watchers only set the flag; nothing runs inside a signal handler that could leave a file or a tensor half changed.
The flag is the process's, as its signals are.
"""

from __future__ import annotations

_reason: str | None = None


class Stopped(BaseException):
    """The work was asked to stop and has saved what it could; its text is the reason. Not an error of the work."""


def request(reason: str) -> None:
    """Ask the work of this process to stop soon. The first reason counts."""
    global _reason
    _reason = _reason or reason


def requested() -> str | None:
    """The reason, if a stop was asked for."""
    return _reason


def check() -> None:
    """Raise `Stopped` if a stop was asked for."""
    if _reason is not None:
        raise Stopped(_reason)


def clear() -> None:
    """Forget the request: the process goes on to other work."""
    global _reason
    _reason = None
