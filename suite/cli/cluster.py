"""`slq submit`, `cancel`, `retry` and `site check`: sweeps on a Slurm cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from suite.cli.app import DATA, RUNS, DataRoot, Root, SweepFile, call, find_trial, open_sweep, out
from suite.cli.run import print_plan
from suite.errors import UserError
from suite.launch import early
from suite.launch.submission import Backend

if TYPE_CHECKING:
    from suite.config import Trial
    from suite.launch.site import Site
    from suite.launch.submit import Proposal
    from suite.ledger import Ledger
    from suite.sweep import Sweep

SiteName = Annotated[str, typer.Option("--site", help="A profile: slurm/NAME.toml, or a path.")]


def submit(
    sweep_file: SweepFile,
    site: SiteName,
    backend: Annotated[Backend, typer.Option(help="array: job arrays; ray: one allocation, packed by Ray.")] = "array",
    root: Root = RUNS,
    data_root: DataRoot = DATA,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be submitted, and submit nothing.")
    ] = False,
    allow_dirty: Annotated[
        bool, typer.Option("--allow-dirty", help="Submit code that differs from its commit.")
    ] = False,
    gpus_per_trial: Annotated[
        float | None, typer.Option("--gpus-per-trial", min=0, help="ray: such as 0.5; default: 1 if the site has GPUs.")
    ] = None,
    scheduler: Annotated[
        early.Name, typer.Option(help="ray: stop trials early that do worse than others; they can go on later.")
    ] = "none",
    probe: Annotated[
        bool,
        typer.Option("--probe", help="First run a job of a minute, if there is no finished trial to estimate from."),
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Also run trials that have failed three times.")
    ] = False,
) -> None:
    """Submit what is missing, and not queued yet, to Slurm. May be repeated at will: nothing runs twice."""
    from suite.launch.plan import forgive
    from suite.launch.site import load_site
    from suite.launch.submission import alone
    from suite.launch.submit import propose

    if dry_run and (probe or retry_failed):
        raise UserError("--dry-run changes nothing; leave out --probe and --retry-failed, or --dry-run")
    sweep, ledger = open_sweep(sweep_file, root)
    profile, data_root = load_site(site), data_root.expanduser().resolve()
    if dry_run:
        proposal = propose(sweep, ledger, profile, backend, gpus_per_trial, scheduler)
        _show(proposal)
        _show_texts(proposal)
        return
    with alone(ledger):
        if retry_failed:
            forgive(sweep, ledger)
        _recover(ledger)
        probed = _probe(sweep, ledger, data_root, profile, allow_dirty) if probe else {}
        proposal = propose(sweep, ledger, profile, backend, gpus_per_trial, scheduler, probed)
        _show(proposal)
        _commit(proposal, data_root, allow_dirty)
    if proposal.chunks:
        out.print(f"follow it   {call('status', sweep_file, root)} --watch", soft_wrap=True)


def _probe(sweep: Sweep, ledger: Ledger, data_root: Path, site: Site, allow_dirty: bool) -> dict[str, float]:
    """Seconds of the trials that no finished one can be compared with."""
    from suite.launch.frozen import freeze
    from suite.launch.plan import make_plan
    from suite.launch.probe import probe_on_site

    trials = make_plan(sweep, ledger).unmeasured()
    if not trials:
        return {}
    _check_inputs(trials, ledger, data_root, site)
    code = freeze(ledger.path, allow_dirty=allow_dirty)
    with out.status("waiting for the probe's job, which takes a minute when it runs"):
        return probe_on_site(trials, ledger, data_root, site, code)


def _check_inputs(trials: list[Trial], ledger: Ledger, data_root: Path, site: Site) -> None:
    from suite.preflight import check_inputs

    if site.data_root is None:  # else only compute nodes can tell
        check_inputs(trials, ledger, data_root, staged=site.stage_data)


def _recover(ledger: Ledger) -> None:
    """Find the jobs of submissions that were cut off."""
    from suite.launch.submission import submissions
    from suite.launch.submit import resolve

    for found in resolve(submissions(ledger)):
        out.print(f"found job {found.job_id}, which an interrupted submission had left")


def _show_texts(proposal: Proposal) -> None:
    for text in proposal.texts():
        out.print(f"\n{text}", markup=False, soft_wrap=True)


def _commit(proposal: Proposal, data_root: Path, allow_dirty: bool) -> None:
    from suite.launch.submit import commit

    _check_inputs(proposal.trials, proposal.ledger, data_root, proposal.site)
    for done in commit(proposal, data_root, allow_dirty=allow_dirty):
        size = f"{done.tasks} tasks, {len(done.trials)} trials"
        out.print(f"job {done.job_id}   {size}, output in {done.log_folder()}", soft_wrap=True)


def _show(proposal: Proposal) -> None:
    """The plan, what of it is queued, the chunks, and what it costs."""
    print_plan(proposal.sweep, proposal.plan)
    if proposal.queued:
        out.print(f"{proposal.queued} of them are queued already")
    for number, chunk in enumerate(proposal.chunks, 1):
        limit = f", at most {chunk.parallel} at once" if chunk.parallel < chunk.tasks else ""
        tasks = f"{chunk.tasks} array tasks{limit}" if proposal.backend == "array" else f"{proposal.site.nodes} nodes"
        out.print(f"chunk {number} of {len(proposal.chunks)}: {len(chunk.trials)} trials, {tasks}")
    if proposal.chunks:
        out.print(f"estimate   {proposal.estimate()}")


def cancel(
    sweep_file: SweepFile,
    trial: Annotated[
        str | None, typer.Argument(metavar="[TRIAL]", help="Only the array task that runs this trial.")
    ] = None,
    root: Root = RUNS,
) -> None:
    """Cancel the sweep's jobs that wait or run. Trials keep their checkpoints; slq submit goes on from there."""
    from suite.launch.cancel import cancel_all, cancel_trial

    sweep, ledger = open_sweep(sweep_file, root)
    jobs = [cancel_trial(ledger, find_trial(sweep, ledger, trial))] if trial else cancel_all(ledger)
    out.print(f"cancelled {', '.join(jobs)}" if jobs else "nothing of the sweep waits or runs")


def retry(
    sweep_file: SweepFile,
    trial: Annotated[str | None, typer.Argument(metavar="[TRIAL]", help="Only this one.")] = None,
    root: Root = RUNS,
) -> None:
    """Let trials that are left alone after failures be tried again, by the next slq run or submit."""
    from suite.launch.plan import forgive

    sweep, ledger = open_sweep(sweep_file, root)
    forgiven = forgive(sweep, ledger, find_trial(sweep, ledger, trial) if trial else None)
    for work in forgiven:
        out.print(f"will be tried again: {work.id}", soft_wrap=True)
    out.print(f"{len(forgiven)} trials; next: {call('run', sweep_file, root)}, or slq submit", soft_wrap=True)


def site_check(
    site: Annotated[str, typer.Argument(metavar="SITE", help="A profile: slurm/NAME.toml, or a path.")],
) -> None:
    """Compare a site profile with the cluster; submits nothing."""
    from suite.launch.site import load_site
    from suite.launch.site_check import check_site, render

    findings = check_site(load_site(site))
    out.print(render(findings))
    if any(finding.level == "error" for finding in findings):
        raise typer.Exit(1)
