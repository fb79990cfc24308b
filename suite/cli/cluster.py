"""`slq submit`, `cancel`, `retry` and `site check`: sweeps on a Slurm cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from suite.cli.app import DATA, RUNS, DataRoot, Root, SweepFile, call, open_sweep, out
from suite.cli.run import print_plan
from suite.launch.submission import Backend

if TYPE_CHECKING:
    from suite.launch.submit import Proposal

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
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Also run trials that have failed three times.")
    ] = False,
) -> None:
    """Submit what is missing, and not queued yet, to Slurm. May be repeated at will: nothing runs twice."""
    from suite.launch.plan import forgive
    from suite.launch.site import load_site
    from suite.launch.submission import submissions
    from suite.launch.submit import alone, commit, propose, resolve
    from suite.preflight import check_inputs

    sweep, ledger = open_sweep(sweep_file, root)
    profile, data_root = load_site(site), data_root.expanduser().resolve()
    if dry_run:
        proposal = propose(sweep, ledger, profile, backend)
        _show(proposal)
        for text in proposal.texts():
            out.print(f"\n{text}", markup=False, soft_wrap=True)
        return
    with alone(ledger):
        for found in resolve(submissions(ledger)):
            out.print(f"found job {found.job_id}, which an interrupted submission had left")
        if retry_failed:
            forgive(sweep, ledger)
        proposal = propose(sweep, ledger, profile, backend)
        _show(proposal)
        check_inputs(proposal.trials, ledger, data_root)
        for done in commit(proposal, data_root, allow_dirty=allow_dirty):
            out.print(
                f"job {done.job_id}   {done.tasks} tasks, {len(done.trials)} trials, {done.log_folder()}",
                soft_wrap=True,
            )
    if proposal.chunks:
        out.print(f"follow it   {call('status', sweep_file, root)} --watch", soft_wrap=True)


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
