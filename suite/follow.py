"""The log of a piece of work as it grows, over all attempts to come."""

from __future__ import annotations

import codecs
import time
from collections.abc import Callable, Iterator

from suite.claim import last_attempt
from suite.ledger import Attempt, State, Work

POLL = 0.5  # seconds between looks


def follow(work: Work, pause: Callable[[], object] = lambda: time.sleep(POLL)) -> Iterator[str]:
    """Pieces of the newest attempt's log, then of every attempt that comes after it, until the work is done or has failed."""
    attempts = work.path / "attempts"
    log = _Log(work, max(1, last_attempt(attempts)))
    while True:
        over = work.state() in (State.DONE, State.FAILED)  # before reading: nothing that was said by then is left out
        newest = last_attempt(attempts)
        if text := log.read():
            yield text
        if newest > log.number:
            log = _Log(work, log.number + 1)
            yield f"\nattempt {log.number}\n"
        elif over:
            return
        elif not text:
            pause()


class _Log:
    """What is new in the log of one attempt. A character cut in two by a read is kept for the next one."""

    def __init__(self, work: Work, number: int) -> None:
        self.number = number
        self._file = Attempt(work.path / "attempts" / str(number)).path / "log.txt"
        self._offset = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def read(self) -> str:
        try:
            with self._file.open("rb") as file:
                file.seek(self._offset)
                new = file.read()
        except FileNotFoundError:
            return ""
        self._offset += len(new)
        return self._decoder.decode(new)
