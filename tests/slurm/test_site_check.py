"""Profiles against a real cluster: what the checks find there, the limits, and that sbatch accepts the flags."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from suite.launch import command as questions
from suite.launch.site import Site, load_site
from suite.launch.site_check import ArrayLimits, array_limits, check_site, script_of
from tests.slurm.dev_cluster import DevCluster, until

pytestmark = pytest.mark.slow

SMALL: dict[str, Any] = {"partition": "main", "time": "10", "memory": "200M", "signal_seconds": 60}


@pytest.fixture(scope="module")
def cluster(start_cluster: Callable[..., AbstractContextManager[DevCluster]]) -> Iterator[DevCluster]:
    """One that enforces the limits of its accounting."""
    enforce = "AccountingStorageEnforce=limits,qos"
    with start_cluster(max_array=301, extra=enforce) as running:
        for command in (
            "add qos small",
            "modify qos small set MaxSubmitJobsPerUser=30 MaxWall=00:20:00",
            "add account second",
            "add user root account=second",
            "modify user root where account=second set qos=normal,small maxsubmitjobs=77",
        ):
            running.command("sacctmgr", "--immediate", *command.split())
        yield running


@pytest.fixture(autouse=True)
def _here(slurm_env: DevCluster) -> None:
    """All tests ask this cluster."""


def problems(site: Site) -> list[str]:
    return [finding.what for finding in check_site(site) if finding.level == "error"]


def test_profile_of_the_dev_cluster_fits_it() -> None:
    site = load_site("dev-cluster")
    found = check_site(site)
    assert [finding.what for finding in found if finding.level == "error"] == []
    said = "\n".join(finding.what for finding in found)
    for words in ("controller answers", "partition main is up", "main has nodes for", "arrays of up to 301"):
        assert words in said
    assert "accounting answers" in said
    assert "sbatch --test-only: a job to start" in said


@pytest.mark.parametrize(
    "settings",
    [
        {"gpus": 2},
        {"gpus": 1, "gpu_style": "gpus"},
        {"gpus": 1, "gpu_style": "gpus-per-node", "nodes": 2},
        {"memory_style": "mem-per-cpu", "cpus": 4},
        {"memory_style": "mem-per-gpu", "gpus": 2},
        {"memory": "0"},
        {"srun": False, "partition": "low,high"},
        {"account": "second", "qos": "small", "constraint": "gpu|cpu", "exclude": "n[3-4]"},
        {"extra": {"nice": 10, "mail-type": "END", "w": "n1", "exclusive": True, "comment": "two words"}},
        {"setup": ("true",), "time": "0-00:10", "signal_seconds": 300},
    ],
    ids=str,
)
def test_slurm_accepts_the_flags(settings: dict[str, Any]) -> None:
    assert problems(Site(**{**SMALL, **settings})) == []


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"partition": "mian"}, "invalid partition specified: mian"),
        ({"gpus": 3}, "main: no node has 3 GPU; there are: 2 without type"),
        ({"gpus": 1, "gpu_type": "a100"}, "Requested node configuration is not available"),
        ({"cpus": 9}, "no such node has 9 processors; the largest has 4"),
        ({"memory": "9G"}, "no such node has 9216 MiB of memory; the largest has 4000"),
        ({"constraint": "fast"}, "no node has the feature fast"),
        ({"account": "none"}, "you may not charge account none"),
        ({"account": "second", "qos": "smal"}, "Invalid qos"),
        ({"account": "second", "qos": "small", "time": "30"}, "time 30 is more than QOS small allows: 00:20:00"),
        ({"extra": {"no-such-flag": "x"}}, "unrecognized option"),
        ({"nodes": 9}, "sbatch --test-only"),
        ({"max_array_size": 400}, "max_array_size 400 is more than the cluster's 301"),
    ],
    ids=str,
)
def test_what_slurm_would_refuse_is_found(settings: dict[str, Any], said: str) -> None:
    assert said in "\n".join(problems(Site(**{**SMALL, **settings})))


def test_nothing_is_submitted(cluster: DevCluster) -> None:
    check_site(Site(**SMALL))
    assert cluster.queue() == {}


@pytest.mark.parametrize(
    ("settings", "limits"),
    [
        ({"account": "second"}, ArrayLimits(301, 77)),
        ({"account": "second", "qos": "small"}, ArrayLimits(301, 30)),
        ({"max_submit": 5}, ArrayLimits(301, 5)),
        ({"max_array_size": 50, "account": "second"}, ArrayLimits(50, 77)),
        ({"max_array_size": 50, "max_submit": 5}, ArrayLimits(50, 5)),
    ],
    ids=str,
)
def test_limits_of_arrays(settings: dict[str, Any], limits: ArrayLimits, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = subprocess.run

    def counted(command: list[str], **options: Any) -> Any:
        calls.append(command[0])
        return real(command, **options)

    monkeypatch.setattr(questions.subprocess, "run", counted)
    assert array_limits(Site(**SMALL, **settings)) == limits
    assert len(calls) == 2 - ("max_array_size" in settings) - ("max_submit" in settings)


def test_limit_of_the_accounting_is_the_one_that_sbatch_keeps_to(cluster: DevCluster) -> None:
    flags = ("--qos=small", "--account=second", "--hold")
    cluster.sbatch("true", "--array=0-29", *flags)
    with pytest.raises(Exception, match="QOSMaxSubmitJobPerUserLimit"):
        cluster.sbatch("true", *flags)


def test_without_an_answer_slurms_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("PATH", "/nowhere")
        assert array_limits(Site()) == ArrayLimits(1001, None)


def test_controller_that_does_not_answer(cluster: DevCluster) -> None:
    cluster.stop_controller()
    assert ["controller does not answer" in what for what in problems(Site(**SMALL))] == [True]


def test_accounting_that_does_not_answer(cluster: DevCluster) -> None:
    cluster.stop_accounting()
    try:
        found = check_site(Site(**SMALL))
        assert any(finding.level == "warning" and "accounting" in finding.what for finding in found)
        assert any("sbatch --test-only: a job to start" in finding.what for finding in found)
    finally:
        cluster.start_accounting()


@pytest.mark.parametrize("srun", [True, False])
def test_gpus_and_processors_of_a_task(cluster: DevCluster, srun: bool, tmp_path: Path) -> None:
    """The script as it comes, run: the command sees the GPU, and its exit code becomes the job's."""
    site = Site(**SMALL, gpus=1, cpus=2, srun=srun, python="bash", setup=("export FROM_SETUP=yes",))
    text = script_of(site, tmp_path).replace("-c pass", "-c 'echo $CUDA_VISIBLE_DEVICES-$FROM_SETUP; exit 3'")
    path = tmp_path / "job.sh"
    path.write_text(text)
    job = cluster.command("sbatch", "--parsable", str(path)).strip()
    until(lambda: cluster.states(job) == ["FAILED"], "the job's end is in the accounting")
    assert cluster.accounting(job, "state", "exitcode", "alloccpus") == [("FAILED", "3:0", "2")]
    assert (tmp_path / f"{job}_0_log.out").read_text().strip() in ("0-yes", "1-yes")
