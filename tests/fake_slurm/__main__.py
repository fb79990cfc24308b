"""`python tests/fake_slurm COMMAND ARGUMENTS...`: what the scripts in the folder of commands call."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
COMMANDS = ("sbatch", "srun", "squeue", "sacct", "scontrol", "scancel", "sinfo", "sacctmgr", "fake-slurm")
CONTACT = "Unable to contact slurm controller (connect failure)"
REFUSED = "failed to open persistent connection to host:127.0.0.1:6819: Connection refused"
DOWN = {  # what the real commands say when their daemon is down, and the status they exit with
    "sbatch": (f"sbatch: error: Batch job submission failed: {CONTACT}", 1),
    "srun": (f"srun: error: Unable to confirm allocation for job: {CONTACT}", 1),
    "squeue": (f"slurm_load_jobs error: {CONTACT}", 1),
    "scontrol": (f"slurm_load_jobs error: {CONTACT}", 1),
    "scancel": (f"scancel: error: Kill job error: {CONTACT}", 8),
    "sinfo": (f"slurm_load_partitions: {CONTACT}", 1),
    "sacct": (
        f"sacct: error: slurm_persist_conn_open_without_init: {REFUSED}\n"
        "sacct: error: Sending PersistInit msg: Connection refused\n"
        "sacct: error: Problem talking to the database: Connection refused",
        1,
    ),
    "sacctmgr": (
        f"sacctmgr: error: slurm_persist_conn_open_without_init: {REFUSED}\n"
        "sacctmgr: error: Sending PersistInit msg: Connection refused",
        1,
    ),
}
DAEMONS = {"slurmdbd": ("sacct", "sacctmgr"), "slurmctld": ("sbatch", "squeue", "scontrol", "scancel", "sinfo")}


def install(folder: Path) -> None:
    """Write the commands into `folder`. They run this interpreter without site packages: a command starts in 50 ms."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in COMMANDS:
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -SE {shlex.quote(str(HERE))} {name} "$@"\n')
        script.chmod(0o755)


def main() -> int:
    command, arguments = sys.argv[1], sys.argv[2:]
    if command == "install":
        install(Path(arguments[0]))
        return 0
    sys.path.insert(0, str(HERE.parent.parent))
    from tests.fake_slurm import options

    if "FAKE_SLURM" not in os.environ:
        sys.exit(f"{command}: error: FAKE_SLURM must name the folder of the fake cluster's state")
    try:
        return run(command, arguments)
    except options.RefusedError as refused:
        print(refused.message, file=sys.stderr)
        return refused.status


def run(command: str, arguments: list[str]) -> int:
    from tests.fake_slurm import store

    if command == "slurmctld":
        from tests.fake_slurm import controller

        return controller.serve()
    log_call(store.folder(), command, arguments)
    failing = store.setting("fail").replace(",", " ").split()
    if command in failing or any(command in DAEMONS[daemon] for daemon in failing if daemon in DAEMONS):
        text, status = DOWN[command]
        if command == "scontrol" and arguments[:1] == ["ping"]:
            text = "Slurmctld(primary) at fake is DOWN"
        print(text, file=sys.stderr)
        return status
    if arguments[:1] in (["--version"], ["-V"]):
        print("slurm-wlm 22.05.8")
        return 0
    match command:
        case "sbatch":
            from tests.fake_slurm import sbatch

            return sbatch.main(arguments, lost="sbatch-lost" in failing)
        case "srun":
            from tests.fake_slurm import srun

            return srun.main(arguments)
        case "scontrol" | "scancel" | "fake-slurm":
            from tests.fake_slurm import control

            return {"scontrol": control.scontrol, "scancel": control.scancel}.get(command, control.verbs)(arguments)
        case _:
            from tests.fake_slurm import tables

            of = {"squeue": tables.squeue, "sacct": tables.sacct, "sinfo": tables.sinfo, "sacctmgr": tables.sacctmgr}
            return of[command](arguments)


def log_call(folder: Path, command: str, arguments: list[str]) -> None:
    """A line in calls.jsonl: one write to a file opened for appending, so that lines of several processes do not mix."""
    folder.mkdir(parents=True, exist_ok=True)
    line = {"time": time.time(), "argv": [command, *arguments], "task": os.environ.get("SLURM_JOB_ID", "")}
    with (folder / "calls.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    sys.exit(main())
