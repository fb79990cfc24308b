"""The ledger: folders of plain files that hold everything a sweep did. MLflow and the tables are projections of it.

    <root>/<sweep>/plan.json
    <root>/<sweep>/trials/<trial id>/config.json
                                    /attempts/<n>/{claim.json, events.jsonl, provenance.json, energy.json, system.jsonl,
                                                   log.txt}
                                    /checkpoint.pt      last good state
                                    /model.slq          the quantized network (of a baseline: model.safetensors)
                                    /result.json        written once, last
    <root>/baselines/<id>/...                           the same, for full-precision starting points

Success is `result.json` and nothing else. Reading never changes anything. An attempt's files are written by its owner only.
"""

from __future__ import annotations

import json
import shutil
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from suite import claim
from suite.errors import UserError
from suite.files import fsync, read_json, write_json

BASELINES = "baselines"  # their folder, beside those of the sweeps
SCHEMA = 1  # of every JSON file in the ledger
TRIALS = "trials"
TAIL = 2**20  # bytes; longer than any event (a snap that ranks 129 clusters of 58 layers takes 170 kB)

Event = dict[str, Any]


class State(StrEnum):
    """What the files of a piece of work say about it."""

    NEW = "new"  # nobody has tried
    RUNNING = "running"  # claimed, and the owner may be alive
    DONE = "done"  # result.json is there
    FAILED = "failed"  # the last attempt ended with an error
    LOST = "lost"  # the last attempt stopped without saying why (killed, node failure) or was interrupted


@dataclass(frozen=True)
class Attempt:
    """One try at a piece of work; `path` is `.../attempts/<n>`."""

    path: Path

    @property
    def number(self) -> int:
        return int(self.path.name)

    def events(self) -> list[Event]:
        """All events so far, oldest first. A line cut short by a crash is left out."""
        try:
            lines = (self.path / "events.jsonl").read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        return [event for line in lines if (event := _parse(line)) is not None]

    def newest(self, kind: str | None = None) -> Event | None:
        """The last event (of one kind) among the last megabyte, without reading a long file."""
        events = (event for line in reversed(self._last_lines(TAIL)) if (event := _parse(line)) is not None)
        return next((event for event in events if kind in (None, event["event"])), None)

    def recent(self, size: int) -> list[Event]:
        """The events among so many of the last bytes, oldest first."""
        return [event for line in self._last_lines(size) if (event := _parse(line)) is not None]

    def _last_lines(self, size: int) -> list[bytes]:
        try:
            with (self.path / "events.jsonl").open("rb") as file:
                file.seek(max(0, file.seek(0, 2) - size))
                return file.read().split(b"\n")
        except FileNotFoundError:
            return []

    def is_live(self) -> bool:
        return claim.is_live(self.path)

    def job(self) -> str:
        """Slurm's id of the job or array task that ran it ("123", "123_4"), empty if none did."""
        owner = claim.owner_of(self.path)
        return owner.job if owner else ""

    def progress(self) -> tuple[int, int]:
        """Stage and training step that it reached, for telling whether an attempt got further than the one before."""
        event = self.newest("train") or self.newest("snap") or {}
        return int(event.get("stage", 0)), int(event.get("step", 0))

    def provenance(self) -> dict[str, Any]:
        return read_json(self.path / "provenance.json") or {}

    def log(self) -> str:
        file = self.path / "log.txt"
        return file.read_text(errors="replace") if file.exists() else ""


def _parse(line: bytes) -> Event | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None


@dataclass(frozen=True)
class Work:
    """A trial's or a baseline's folder."""

    path: Path

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.pt"

    @property
    def model(self) -> Path:
        return self.path / ("model.safetensors" if self.path.parent.name == BASELINES else "model.slq")

    def config(self) -> dict[str, Any]:
        return read_json(self.path / "config.json") or {}

    def result(self) -> dict[str, Any] | None:
        """The result, or None while there is none. Raises `UserError` if it is damaged or of a newer version."""
        file = self.path / "result.json"
        try:
            result: dict[str, Any] | None = read_json(file)
            newer = result is not None and result["schema"] > SCHEMA
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(f"{file} is damaged ({error}); delete it, and the trial runs again") from None
        if newer:
            raise UserError(
                f"{file} has schema {result and result['schema']}, this version reads up to {SCHEMA}; update slq"
            )
        return result

    def attempts(self) -> list[Attempt]:
        """All attempts, oldest first."""
        folder = self.path / "attempts"
        return [Attempt(folder / str(n)) for n in range(1, claim.last_attempt(folder) + 1)]

    def newest_attempt(self) -> Attempt | None:
        folder = self.path / "attempts"
        last = claim.last_attempt(folder)
        return Attempt(folder / str(last)) if last else None

    def state(self) -> State:
        attempt = self.newest_attempt()
        live = attempt is not None and attempt.is_live()
        # after the look at the claim, since a claim is released only when the result is there
        if (self.path / "result.json").exists():
            return State.DONE
        if attempt is None:
            return State.NEW
        if live:
            return State.RUNNING
        end = attempt.newest("end")
        return State.FAILED if end is not None and end["outcome"] == "failed" else State.LOST

    def forgive(self) -> None:
        """Let failures and losses so far not count against the trial any more (`slq retry`)."""
        write_json(self.path / "forgiven.json", {"schema": SCHEMA, "attempts": len(self.attempts())})

    def _counted(self) -> list[Attempt]:
        """The attempts since the last pardon."""
        forgiven = (read_json(self.path / "forgiven.json") or {"attempts": 0})["attempts"]
        return self.attempts()[forgiven:]

    def failures(self) -> int:
        """How many attempts ended with an error of their own; lost and interrupted ones do not count."""
        ends = (attempt.newest("end") for attempt in self._counted())
        return sum(end is not None and end["outcome"] == "failed" for end in ends)

    def losses(self) -> int:
        """How many attempts in a row, up to the newest, were killed without a word and got no further than those before.

        A trial that exhausts the memory dies at the same place each time; one that is preempted without warning gets on.
        """
        count, furthest = 0, (-1, -1)
        for attempt in self._counted():
            killed, reached = not attempt.is_live() and attempt.newest("end") is None, attempt.progress()
            count = count + 1 if killed and reached <= furthest else int(killed)
            furthest = max(furthest, reached)
        return count

    def why_failed(self) -> str:
        """Last error message of the newest attempt, "" if it did not fail."""
        attempt = self.newest_attempt()
        end = attempt.newest("end") if attempt else None
        return str(end.get("error", "")) if end else ""

    def try_claim(self, config: dict[str, Any]) -> OpenAttempt | None:
        """Begin the next attempt, or None if the work is done, is being done, or somebody was faster."""
        if self.state() in (State.DONE, State.RUNNING):
            return None
        held = claim.try_claim(self.path / "attempts")
        if held is None:
            return None
        if (self.path / "result.json").exists():  # somebody finished between our look and our claim
            shutil.rmtree(held.attempt, ignore_errors=True)  # another late claim may take the emptied folder's place
            return None
        if not (self.path / "config.json").exists():
            write_json(self.path / "config.json", {"schema": SCHEMA, **config})
        return OpenAttempt(self, held)


class OpenAttempt:
    """The writer's side of an attempt: the only place from which a work's files are written."""

    def __init__(self, work: Work, held: claim.Claim) -> None:
        self.work = work
        self.path = held.attempt
        self.number = held.number
        self._claim = held
        self._events = (self.path / "events.jsonl").open("ab", buffering=0)
        self._log = (self.path / "log.txt").open("a", buffering=1)

    def emit(self, kind: str, **fields: Any) -> None:
        """Append one event. One unbuffered write a line: a kill cuts at most the last line."""
        event = {"t": round(time.time(), 3), "event": kind, **fields}
        self._events.write(json.dumps(event, allow_nan=False).encode() + b"\n")

    def say(self, text: str) -> None:
        """Append a line for people to the attempt's log."""
        self._log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}\n")

    def check(self) -> None:
        """Raise `claim.SupersededError` if somebody else has taken the work over."""
        self._claim.check()

    def finish(self, result: dict[str, Any]) -> None:
        """Write the result: from here on the work is done."""
        self.check()
        write_json(self.work.path / "result.json", {"schema": SCHEMA, **result})
        self.work.checkpoint.unlink(missing_ok=True)

    @contextmanager
    def running(self) -> Iterator[OpenAttempt]:
        """Hold the claim, and record how the attempt ends. Exceptions pass through after they have been recorded."""
        try:
            with self._claim:
                self.emit("start", attempt=self.number)
                yield self
            self._end("done")
        except claim.SupersededError as error:
            self._end("superseded", error=str(error))
            raise
        except Exception as error:
            self.say(traceback.format_exc())
            self._end("failed", error=f"{type(error).__name__}: {error}"[:2000])
            raise
        except BaseException as error:  # KeyboardInterrupt, SystemExit: somebody stopped it, the work itself is fine
            self._end("interrupted", error=str(error) or type(error).__name__)
            raise
        finally:
            self._events.close()
            self._log.close()

    def _end(self, outcome: str, **fields: Any) -> None:
        self.emit("end", outcome=outcome, **fields)
        fsync(self.path / "events.jsonl")
        claim.release(self.path)


@dataclass(frozen=True)
class Ledger:
    """All work of one sweep below `root`; baselines are shared by all sweeps of the root."""

    root: Path
    sweep: str

    @property
    def path(self) -> Path:
        return self.root / self.sweep

    def trial(self, identity: str) -> Work:
        return Work(self.path / TRIALS / identity)

    def trials(self) -> list[Work]:
        """Every trial folder there is, planned or not, in the order of their names."""
        folder = self.path / TRIALS
        return [Work(p) for p in sorted(folder.iterdir()) if p.is_dir()] if folder.is_dir() else []

    def baseline(self, identity: str) -> Work:
        return Work(self.root / BASELINES / identity)
