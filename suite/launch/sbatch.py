"""One `sbatch` call through Submitit: its text, what surrounds the task in it, and the call.

All tasks of an array run the same callable, so its pickle is written once, before the call, and each task takes a copy of it when
it starts. A job therefore runs whatever happens to the process that submitted it. Imports Submitit: import it lazily.
"""

from __future__ import annotations

import io
import shlex
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

from submitit import SlurmExecutor, SlurmJob
from submitit.core.utils import DelayedSubmission, FailedJobError, FailedSubmissionError

from suite.errors import UserError
from suite.launch.frozen import shell_lines
from suite.launch.signals import UNANSWERED
from suite.launch.site import Site
from suite.launch.submission import Submission
from suite.launch.worker import DISK_FULL

PICKLE = "task.pkl"
# 128 + SIGABRT, SIGBUS, SIGKILL (killed by hand or for its memory), SIGSEGV, SIGUSR2 (the warning came before anybody listened)
DEATHS = (134, 135, 137, 139, 140)


class SubmissionError(Exception):
    """`sbatch` failed; its text says why."""


class Executor(SlurmExecutor):  # type: ignore[misc]
    """Submitit's executor for an array of `tasks` one-node tasks, or for one allocation of several nodes, of one callable."""

    def __init__(
        self,
        submission: Submission,
        site: Site,
        *,
        tasks: int | None = None,
        parallel: int | None = None,
        nodes: int = 1,
    ) -> None:
        super().__init__(submission.log_folder(), max_num_timeout=site.max_timeouts, python=site.command())
        parameters = site.submitit_parameters(
            job_name=submission.job_name,
            setup=_setup(submission),
            teardown=_teardown(submission, site.max_crashes),
            nodes=nodes,
            parallel=parallel,
        )
        self.update_parameters(**parameters)
        if tasks is not None:
            self.parameters["map_count"] = tasks
        self._minutes = site.minutes

    @classmethod
    def affinity(cls) -> int:
        return 2  # so that a dry run works where there is no Slurm

    def text(self) -> str:
        """What is submitted."""
        text: str = self._make_submission_file_text(self._submitit_command_str, "")
        return text

    def _internal_process_submissions(self, delayed_submissions: Sequence[DelayedSubmission]) -> list[SlurmJob[Any]]:
        (delayed,) = delayed_submissions
        delayed.set_timeout(self._minutes, self.max_num_timeout)
        self.folder.mkdir(parents=True, exist_ok=True)
        delayed.dump(self.folder / PICKLE)
        return [self._submit_command(self._submitit_command_str)]


def call(executor: Executor, task: Callable[[], object]) -> str:
    """Submit and return Slurm's id of the job. Raises `SubmissionError` with what sbatch said."""
    try:
        with redirect_stderr(io.StringIO()):  # Submitit prints what it raises
            return str(executor.submit(task).job_id)
    except FileNotFoundError:
        raise UserError("there is no sbatch here; submit from a login node, or try slurm/dev-cluster") from None
    except (FailedJobError, FailedSubmissionError) as error:
        raise SubmissionError(str(error).strip()) from None


def _setup(submission: Submission) -> list[str]:
    """Shell lines before a task: the frozen code comes first, and the task's own copy of the pickle.

    A run that was killed while Submitit replaced the pickle leaves none, or a temporary one at which Submitit stops.
    """
    log = shlex.quote(str(submission.log_folder()))
    job = "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}" if submission.backend == "array" else "${SLURM_JOB_ID}"
    return [
        *shell_lines(Path(submission.intent["code"]["path"])),
        f"slq_log={log} slq_job={job}",
        'slq_pickle="$slq_log/${slq_job}_submitted.pkl"',
        'rm -f "$slq_pickle.save_tmp"',
        f'[ -s "$slq_pickle" ] || {{ cp "$slq_log/{PICKLE}" "$slq_pickle.$$" && mv "$slq_pickle.$$" "$slq_pickle"; }}',
    ]


def _teardown(submission: Submission, crashes: int) -> list[str]:
    """Shell lines after a task: one that was killed, or found the disk full, goes back to the queue, but not for ever."""
    return [
        "code=$?",
        f"slq_crashes={shlex.quote(str(submission.path))}/crashes-$slq_job.txt",
        "case $code in",
        f"{'|'.join(map(str, (DISK_FULL, UNANSWERED, *DEATHS)))})",
        '    echo "$(date +%s) $code $(hostname)" >> "$slq_crashes" || exit $code',
        f'    if [ "$(wc -l < "$slq_crashes")" -le {crashes} ] && [ "$(squeue -h -j "$slq_job" -o %T)" = RUNNING ]; then',
        '        scontrol requeue "$slq_job"',
        "    fi",
        "esac",
        "exit $code",
    ]
