"""A fake Slurm for tests: texts, exit codes, environment and processes as of the real one, but nothing to install.

`python tests/fake_slurm install BIN` writes the commands (sbatch, srun, ...) into the folder BIN; with BIN first on PATH and
FAKE_SLURM naming a folder for the state, they work. In tests the fixture `fake_slurm` (fixture.py) does it all.

    options.py      command lines as Slurm's commands read them
    store.py        the state folder: a JSON file for each task, requests, settings
    controller.py   the one process that starts tasks, signals them and notes how they end
    sbatch.py srun.py tables.py (squeue, sacct, sinfo, sacctmgr) control.py (scontrol, scancel, fake-slurm)
    forms.py        times, exit codes, ranges and file names in Slurm's notation

Texts and orders of signals are those of Slurm 22.05. tests/test_fake_slurm.py runs one list of tests against both.
"""
