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
from collections.abc import Iterator, Mapping, Sequence
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
PROVENANCE: dict[str, Any] = {"commit": str | None, "dirty": bool, "versions": dict}  # fact -> its type, if it is there
KEPT_ELSEWHERE = "delete it: the plan and result.json have the settings, too"
RUN_AGAIN = "delete it, and the trial runs again"  # a damaged result
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
        """All events so far, oldest first. A line cut short by a crash is left out, and so are damaged ones."""
        return self.read_events()[0]

    def read_events(self) -> tuple[list[Event], int]:
        """`events`, and how many lines are damaged. The end of the file, which a crash may cut short, is none of them."""
        *whole, end = map(_parse, self._lines())
        return [event for event in (*whole, end) if event is not None], whole.count(None)

    def damaged_lines(self) -> int:
        """How many of the events cannot be read, for those who do without the events."""
        return self.read_events()[1]

    def _lines(self) -> list[bytes]:
        """Of the events; the last one lacks its line feed."""
        file = self.path / "events.jsonl"
        try:
            return file.read_bytes().split(b"\n")
        except FileNotFoundError:
            return [b""]
        except OSError as error:
            raise _unreadable(file, error, "delete it, and only what was measured on the way is lost") from None

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
        except (FileNotFoundError, IsADirectoryError):
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
        try:
            return int(event.get("stage", 0)), int(event.get("step", 0))
        except (ValueError, TypeError, OverflowError):  # readers of the events tell it
            return 0, 0

    def provenance(self) -> dict[str, Any]:
        """What it ran with, {} while nothing says so. Raises `UserError` if that is damaged."""
        file, remedy = self.path / "provenance.json", "delete it, and only what it ran with is unknown"
        facts = read_record(file, remedy, needed=()) or {}
        for name, kind in PROVENANCE.items():
            if name in facts and not isinstance(facts[name], kind):
                raise _damaged(file, f"{name} is {facts[name]!r}", remedy)
        return facts

    def log(self) -> str:
        file = self.path / "log.txt"
        return file.read_text(errors="replace") if file.exists() else ""


def _parse(line: bytes) -> Event | None:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) and "event" in event else None


def read_record(file: Path, remedy: str, needed: Sequence[str] = ("schema",)) -> dict[str, Any] | None:
    """What a JSON file holds, None if there is none.

    Raises `UserError` if it is damaged (`remedy`: what to do then) or of a newer version.
    """
    try:
        if not file.exists():
            return None
        content = read_json(file)
    except ValueError as error:
        raise _damaged(file, _flaw(error), remedy) from None
    except OSError as error:
        raise _unreadable(file, error, remedy) from None
    if not isinstance(content, dict):
        raise _damaged(file, f"{json.dumps(content)[:40]} in place of a mapping", remedy)
    if lacking := [name for name in needed if name not in content]:
        raise _damaged(file, f"it lacks {', '.join(lacking)}", remedy)
    schema = content.get("schema", SCHEMA)
    if not isinstance(schema, int):
        raise _damaged(file, f"schema is {schema!r}", remedy)
    if schema > SCHEMA:
        raise UserError(f"{file} has schema {schema}, this version reads up to {SCHEMA}; update slq")
    return content


def in_words(error: Exception) -> str:
    """What is wrong with files of a trial whose contents are whole, but make no sense to whoever reads them.

    It may be their reader that is wrong: errors keep their names, and nobody is told to remove what may be sound.
    """
    match error:
        case UserError():
            return str(error)
        case OSError(filename=str() as file):
            return f"{file} cannot be read ({error.strerror}); mend that, and repeat the command"
        case KeyError():
            return f"what it recorded lacks {error}; restore its files, or remove its folder, and it runs again"
        case _:
            return f"what it recorded makes no sense ({type(error).__name__}: {error}); restore its files"


def _flaw(error: ValueError) -> str:
    """Of a text that is no JSON."""
    if isinstance(error, json.JSONDecodeError):
        return "it is empty" if not error.doc.strip() else str(error)
    return "it is no text in UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)


def _unreadable(file: Path, error: OSError, remedy: str) -> UserError:
    """Nothing is wrong with what cannot be reached: it must not be deleted."""
    if isinstance(error, IsADirectoryError):
        return _damaged(file, "it is a folder", remedy)
    return UserError(f"{file} cannot be read ({error.strerror}); mend that, and repeat the command")


def _damaged(file: Path, flaw: str, remedy: str) -> UserError:
    return UserError(f"{file} is damaged ({flaw}); {remedy}")


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
        """The settings, {} while there are none. Raises `UserError` if they are damaged or of a newer version."""
        settings = read_record(self.path / "config.json", KEPT_ELSEWHERE)
        if settings is None:
            settings = (self.result() or {}).get("config", {})
        if not isinstance(settings, dict):
            raise _damaged(self.path / "result.json", f"config is {json.dumps(settings)[:40]}", RUN_AGAIN)
        return settings

    def result(self) -> dict[str, Any] | None:
        """The result, or None while there is none. Raises `UserError` if it is damaged or of a newer version."""
        return read_record(self.path / "result.json", RUN_AGAIN)

    def check(self, planned: Mapping[str, Any] | None = None) -> None:
        """Raise `UserError` for the first of its small files that is damaged, or if it has other settings than `planned`:
        those that its id is the hash of.

        The result and the events are for those to judge who read them.
        """
        config = self.config()
        for name, value in (planned or {}).items() if config else ():
            if config.get(name) != value:
                flaw = f"its {name} is {config.get(name)!r}, planned is {value!r}"
                raise _damaged(self.path / "config.json", flaw, KEPT_ELSEWHERE)
        self.forgiven()
        for attempt in self.attempts():
            attempt.provenance()

    def problem(self, planned: Mapping[str, Any] | None = None) -> str:
        """What makes it unreadable, its result or one of the files that `check` looks at; "" if nothing does."""
        try:
            self.check(planned)
            self.result()
        except UserError as error:
            return str(error)
        return ""

    def attempts(self) -> list[Attempt]:
        """All attempts, oldest first."""
        folder = self.path / "attempts"
        return [Attempt(folder / str(n)) for n in range(1, claim.last_attempt(folder) + 1)]

    def newest_attempt(self) -> Attempt | None:
        folder = self.path / "attempts"
        last = claim.last_attempt(folder)
        return Attempt(folder / str(last)) if last else None

    def has_result(self) -> bool:
        """Whether it is done, which never changes; the cheapest look of all."""
        return (self.path / "result.json").exists()

    def state(self) -> State:
        attempt = self.newest_attempt()
        live = attempt is not None and attempt.is_live()
        # after the look at the claim, since a claim is released only when the result is there
        if self.has_result():
            return State.DONE
        if attempt is None:
            return State.NEW
        if live:
            return State.RUNNING
        end = attempt.newest("end")
        return State.FAILED if end is not None and end.get("outcome") == "failed" else State.LOST

    def forgive(self) -> None:
        """Let failures and losses so far not count against the trial any more (`slq retry`)."""
        write_json(self.path / "forgiven.json", {"schema": SCHEMA, "attempts": len(self.attempts())})

    def forgiven(self) -> int:
        """How many attempts, the first ones, count no more. Raises `UserError` if that is damaged."""
        file, remedy = self.path / "forgiven.json", "delete it, and all failures count again"
        count = (read_record(file, remedy, needed=("schema", "attempts")) or {"attempts": 0})["attempts"]
        if not isinstance(count, int):
            raise _damaged(file, f"attempts is {count!r}", remedy)
        return count

    def _counted(self) -> list[Attempt]:
        """The attempts since the last pardon; all of them if that is damaged, which `check` tells."""
        try:
            return self.attempts()[self.forgiven() :]
        except UserError:
            return self.attempts()

    def failures(self) -> int:
        """How many attempts ended with an error of their own; lost and interrupted ones do not count."""
        ends = (attempt.newest("end") for attempt in self._counted())
        return sum(end is not None and end.get("outcome") == "failed" for end in ends)

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
        if self.has_result():  # somebody finished between our look and our claim
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
        """Raise `claim.SupersededError` if somebody else has taken the work over, `FileNotFoundError` if it was removed."""
        self._claim.check()
        self.path.stat()

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
