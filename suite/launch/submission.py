"""Records of what was submitted to Slurm: one folder per `sbatch` call, written around that call so that no crash loses a job.

    <root>/<sweep>/submissions/<token>/submission.json   the intent; written before sbatch, never changed
                                      /trials.json       the trials it covers, whole
                                      /job.json          the job id; written after sbatch
                                      /closed.json       why nothing comes of it: cancelled, or refused by sbatch
                                      /log/              sbatch text, pickles and output, by Submitit
                                      /crashes-<job>.txt a line for each death of a task that its batch script requeued

If a crash left an intent without a job id, the job is found by its name, which contains the token. Trials are claimed when they
run, so even a job that nobody remembers does no trial twice.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from filelock import FileLock, Timeout

from suite.errors import UserError
from suite.files import read_json, write_json
from suite.launch.frozen import Frozen
from suite.launch.site import Site
from suite.ledger import SCHEMA, Ledger, read_record

if TYPE_CHECKING:
    from suite.config import Trial

FOLDER = "submissions"
NEEDED = ("schema", "trials")  # of a record, by whoever reads any
LOCK = 120  # seconds to wait for another submission of the sweep
Backend = Literal["array", "ray"]


@dataclass(frozen=True)
class Submission:
    """One `sbatch` call: an array (or a chunk of one), or an allocation for Ray."""

    path: Path
    intent: dict[str, Any] = field(repr=False)  # job_name, backend, site, created, tasks, trials, gpus, cpus, code

    @staticmethod
    def at(path: Path) -> Submission:
        """The submission recorded in a folder. Raises `UserError` if the record is damaged or of a newer version."""
        remedy = "restore it, or remove its folder once squeue shows no job of it"
        return Submission(path, read_record(path / "submission.json", remedy, NEEDED) or {})

    @property
    def token(self) -> str:
        return self.path.name

    @property
    def job_name(self) -> str:
        return str(self.intent["job_name"])

    @property
    def backend(self) -> Backend:
        backend: Backend = self.intent["backend"]
        return backend

    @property
    def site(self) -> str:
        return str(self.intent["site"])

    @property
    def created(self) -> float:
        return float(self.intent["created"])

    @property
    def tasks(self) -> int:
        """Array tasks; 1 for Ray."""
        return int(self.intent["tasks"])

    @property
    def trials(self) -> list[str]:
        """Ids of the trials it covers."""
        return list(self.intent["trials"])

    @property
    def closed(self) -> str:
        """Why nothing comes of it any more ("cancelled"), empty if something may."""
        return str((read_json(self.path / "closed.json") or {"reason": ""})["reason"])

    @property
    def job_id(self) -> str | None:
        """Slurm's id, None while it is not known whether there is a job."""
        job = read_json(self.path / "job.json")
        return str(job["job_id"]) if job else None

    def job_ids(self) -> list[str]:
        """The ids of its array tasks ("123_0", ...), or of its one job."""
        job = self.job_id
        if job is None:
            return []
        return [f"{job}_{task}" for task in range(self.tasks)] if self.backend == "array" else [job]

    def log_folder(self) -> Path:
        return self.path / "log"

    def logs(self, job: str) -> tuple[Path, Path]:
        """Standard output and standard error of an array task or job, of its first node."""
        return self.log_folder() / f"{job}_0_log.out", self.log_folder() / f"{job}_0_log.err"

    def whole_trials(self) -> list[Trial]:
        """The trials as they were when submitted, to be called with the code that was frozen then."""
        from suite.config import Trial  # here: it imports torch, and the command line this module

        content = read_json(self.path / "trials.json")
        return [Trial.model_validate(config) for config in content["trials"]]

    def set_job_id(self, job_id: str) -> None:
        """Record the id that sbatch gave."""
        write_json(self.path / "job.json", {"schema": SCHEMA, "job_id": job_id, "submitted": time.time()})

    def close(self, reason: str) -> None:
        """Record that nothing comes of it any more."""
        write_json(self.path / "closed.json", {"schema": SCHEMA, "reason": reason, "closed": time.time()})


def intended(
    ledger: Ledger, trials: Sequence[Trial], backend: Backend, tasks: int, site: Site, code: Frozen
) -> Submission:
    """An intent to submit these trials, with a token of its own; not written yet."""
    token = f"{time.strftime('%m%d-%H%M%S')}-{secrets.token_hex(3)}"
    intent = {
        "schema": SCHEMA,
        "token": token,
        "job_name": f"slq-{ledger.sweep}-{token}",
        "backend": backend,
        "site": site.name,
        "created": time.time(),
        "tasks": tasks,
        "trials": [trial.id for trial in trials],
        "gpus": site.gpus,
        "cpus": site.cpus,
        "code": {**asdict(code), "path": str(code.path)},
    }
    return Submission(ledger.path / FOLDER / token, intent)


def write(submission: Submission, trials: Sequence[Trial]) -> None:
    """Record the intent to submit these trials."""
    submission.path.mkdir(parents=True)
    write_json(submission.path / "trials.json", {"schema": SCHEMA, "trials": [trial.config() for trial in trials]})
    write_json(submission.path / "submission.json", submission.intent)


def submissions(ledger: Ledger) -> list[Submission]:
    """All of the sweep, oldest first."""
    folder = ledger.path / FOLDER
    found = [Submission.at(p) for p in folder.iterdir() if (p / "submission.json").exists()] if folder.is_dir() else []
    return sorted(found, key=lambda each: (each.created, each.token))


@contextmanager
def alone(ledger: Ledger) -> Iterator[None]:
    """Keep a second `slq submit` or `cancel` of the sweep waiting: two at once could queue trials twice, or miss a job."""
    ledger.path.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(ledger.path / "submit.lock", timeout=LOCK):
            yield
    except Timeout:
        raise UserError(
            f"another slq submit or cancel has been at this sweep for {LOCK} s; wait for it, and try again"
        ) from None
