"""`slq site check`: whether a profile fits the cluster that answers here; and what the cluster allows in one submission."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from suite.launch.cluster import Cluster, ask, look, settings, user_limits
from suite.launch.command import Answer
from suite.launch.site import Site
from suite.launch.site_compare import Finding, Findings, array_size, compare, max_submit

NEEDED = ("sbatch", "squeue", "scontrol", "scancel")
USEFUL = ("sacct", "sacctmgr", "sinfo")


@dataclass(frozen=True)
class ArrayLimits:
    """What one array, and the queue, may hold."""

    max_array_size: int  # tasks; the highest index is one less
    max_submit: int | None  # tasks of this user in the queue; None: no limit known


def array_limits(site: Site) -> ArrayLimits:
    """What the profile says, else the cluster; at most two calls. Slurm's default where the cluster does not answer."""
    cluster = Cluster({} if site.max_array_size else settings())
    size = site.max_array_size or array_size(cluster)
    if site.max_submit or (cluster.config and not cluster.enforces("limits")):
        return ArrayLimits(size, site.max_submit)
    associations, qos = user_limits(cluster.config.get("ClusterName", ""))
    return ArrayLimits(size, max_submit(site, Cluster(cluster.config, {}, (), associations, qos)))


def check_site(site: Site) -> list[Finding]:
    """Compare a profile with the cluster that answers here. Submits nothing."""
    found = [*commands(site), *variables(dict(os.environ)), *shell(site), *interpreter(site)]
    if not shutil.which("scontrol"):
        return found
    found += controller(ask("scontrol", "ping"))
    if found[-1].level == "error":
        return found
    cluster = look()
    return [*found, *compare(site, cluster), *accounting(cluster), *trial_submission(site)]


# --- this machine ------------------------------------------------------------------------------


def commands(site: Site) -> Findings:
    """Slurm's commands are on PATH."""
    needed = (*NEEDED, "srun") if site.srun else NEEDED
    if missing := [name for name in needed if not shutil.which(name)]:
        step = "run this on a login node of the cluster, perhaps after `module load slurm`"
        yield Finding("error", f"not found: {', '.join(missing)}", step)
    elif missing := [name for name in USEFUL if not shutil.which(name)]:
        yield Finding("warning", f"not found: {', '.join(missing)}", "`slq status` and `slq usage` will say less")
    else:
        yield Finding("ok", "Slurm's commands are there")


def variables(environment: dict[str, str]) -> Findings:
    """Variables of sbatch win over the flags of a batch script, and thus over the profile."""
    if found := sorted(name for name in environment if name.startswith("SBATCH_")):
        yield Finding("warning", f"{', '.join(found)} override the profile", f"unset {' '.join(found)}")
    if "SLURM_JOB_ID" in environment:
        what = f"this shell is inside of job {environment['SLURM_JOB_ID']}, whose SLURM_ variables new jobs inherit"
        yield Finding("warning", what, "submit from a login node's own shell")


def shell(site: Site) -> Findings:
    """The profile's shell lines can be parsed, and there is a module command if it is called."""
    if lines := "\n".join((*site.modules, *site.setup)):
        answer = ask("bash", "-n", stdin=lines + "\n")
        if answer.ok:
            yield Finding("ok", "bash can parse the lines of modules and setup")
        else:
            yield Finding("error", f"bash cannot parse modules or setup: {answer.error}", "correct the profile")
    for command in sorted({line.split()[0] for line in site.modules}):
        if not ask("bash", "-lc", f"type {command}").ok:
            step = f"if nodes do not have it either, load it in setup and move the {command} lines there"
            yield Finding("warning", f"modules calls {command}, which a login shell here does not know", step)


def interpreter(site: Site) -> Findings:
    """The Python that nodes shall run; it may well exist on nodes only."""
    program = (shlex.split(site.python) or [""])[0] if site.python else ""
    if program and not shutil.which(program):
        step = "fine if nodes have it, or setup puts it on PATH"
        yield Finding("warning", f"python: {program} is not to be found here", step)


def controller(ping: Answer) -> Findings:
    """Slurm's controller, or its backup, answers."""
    if re.search(r"\bUP\b", ping.out):
        yield Finding("ok", "Slurm's controller answers")
    else:
        said = " ".join((ping.out or ping.error).split()) or "no answer"
        yield Finding(
            "error", f"Slurm's controller does not answer: {said}", "wait, or ask the cluster's administrators"
        )


# --- questions of their own --------------------------------------------------------------------


def accounting(cluster: Cluster) -> Findings:
    """sacct answers: what became of ended jobs, and what they used, is known from there only."""
    step = "slq status then knows live jobs only, and slq usage nothing"
    if cluster.config.get("AccountingStorageType", "") in ("", "accounting_storage/none"):
        yield Finding("warning", "the cluster keeps no accounting", step)
        return
    answer = ask("sacct", "--noheader", "--allocations", "--parsable2", "--format=JobID", "--starttime=now-1minutes")
    if answer.ok:
        yield Finding("ok", "accounting answers")
    else:
        yield Finding("warning", f"accounting does not answer: {answer.error}", step)


def trial_submission(site: Site) -> Findings:
    """sbatch itself judges the flags, without submitting anything."""
    if not (shutil.which("sbatch") and shutil.which("srun")):  # Submitit makes no script without srun
        return
    for count in sorted({1, site.nodes}):
        with tempfile.TemporaryDirectory(prefix="slq-") as folder:
            script = Path(folder) / "check.sh"
            script.write_text(script_of(site, Path(folder), count))
            answer = ask("sbatch", "--test-only", str(script))
        said = "; ".join(line.removeprefix("sbatch: ").strip() for line in answer.error.splitlines() if line.strip())
        if answer.ok:
            yield Finding("ok", f"sbatch --test-only: {re.sub('^Job [0-9]+', 'a job', said)}")
        else:
            yield Finding("error", f"sbatch --test-only: {said}", "correct the field that it speaks of")


def script_of(site: Site, folder: Path, nodes: int = 1) -> str:
    """A batch script with the profile's flags and lines, and a command that does nothing."""
    from submitit import SlurmExecutor

    executor = SlurmExecutor(folder=folder, python=site.command())
    parameters = site.submitit_parameters(job_name="slq-site-check", setup=[], teardown=[], nodes=nodes)
    executor.update_parameters(**parameters)
    text: str = executor._make_submission_file_text(f"{site.command()} -c pass", "check")
    return text


# --- the view ----------------------------------------------------------------------------------

STYLES = {"ok": "green", "warning": "yellow", "error": "red"}


def render(findings: Iterable[Finding]) -> RenderableType:
    """A line a finding, with what to do about it."""
    table = Table.grid(padding=(0, 2))
    for each in findings:
        what = Text(each.what)
        if each.next_step:
            what.append(f"\n{each.next_step}", style="dim")
        table.add_row(Text(each.level, style=STYLES[each.level]), what)
    return table
