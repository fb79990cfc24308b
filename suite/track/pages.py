"""The sweep's tables and figures in MLflow: the artifacts of one run beside those of the trials."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from suite.track.bulk import Seen

NAME = "tables"
PAGES = "slq.pages"  # tag: SHA-256 of all files once they are there, written last; "" before


def sync_pages(client: Any, experiment: str, runs: Sequence[Seen], files: Sequence[Path]) -> None:
    """Give the experiment exactly these files, if there are any; each lies in a folder of its folder's name.

    MLflow cannot take files back, so changed ones get a new run. `runs` are all of the experiment.
    """
    wanted = _digest(files)
    older = [run for run in runs if PAGES in run.tags]
    if not files or [run.tags[PAGES] for run in older] == [wanted]:
        return
    newest = round(max(file.stat().st_mtime for file in files) * 1000)
    tags = {PAGES: "", "sweep": client.get_experiment(experiment).name}
    identity = client.create_run(experiment, newest, tags, NAME).info.run_id
    for file in files:
        client.log_artifact(identity, str(file), file.parent.name)
    client.set_terminated(identity, "FINISHED", newest)
    for run in older:
        client.delete_run(run.id)
    client.set_tag(identity, PAGES, wanted)


def _digest(files: Sequence[Path]) -> str:
    digest = sha256()
    for file in sorted(files):
        content = file.read_bytes()
        digest.update(f"{file.parent.name}/{file.name} {len(content)}\n".encode() + content)
    return digest.hexdigest()
