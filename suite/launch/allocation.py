"""What Slurm gave a task of its node: processors, GPUs, memory. Not what the node has."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

MIB = 2**20


@dataclass(frozen=True)
class Share:
    """The part of a node that one task may use."""

    cpus: int
    gpus: int
    memory: int | None  # bytes; None: Slurm sets no limit

    @staticmethod
    def of(environment: Mapping[str, str]) -> Share:
        """Read from the variables that Slurm sets for a task."""
        cpus = _first(environment, "SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE") or os.cpu_count() or 1
        gpus = _gpus(environment)
        return Share(cpus, gpus, _memory(environment, cpus, gpus))


def _first(environment: Mapping[str, str], *names: str) -> int | None:
    """The first of the variables that is a number."""
    values = (environment.get(name, "") for name in names)
    return next((int(value) for value in values if value.isdigit()), None)


def _gpus(environment: Mapping[str, str]) -> int:
    """As many as Slurm counts, but no more than are visible; a variable that came from the submitting shell gives none."""
    counted = _first(environment, "SLURM_GPUS_ON_NODE")
    if counted is None:
        listed = environment.get("SLURM_STEP_GPUS") or environment.get("SLURM_JOB_GPUS") or ""
        counted = len(_devices(listed))
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    return counted if visible is None else min(counted, len(_devices(visible)))


def _devices(listed: str) -> list[str]:
    """Devices of a list such as "0,1"; Slurm writes "NoDevFiles", and others "-1", for none."""
    return [device for device in listed.split(",") if device.strip() not in ("", "-1", "NoDevFiles")]


def _memory(environment: Mapping[str, str], cpus: int, gpus: int) -> int | None:
    """Slurm says it for the node, for each processor, or for each GPU; 0 means all that the node has."""
    per_node = _first(environment, "SLURM_MEM_PER_NODE")
    per_cpu = _first(environment, "SLURM_MEM_PER_CPU")
    per_gpu = _first(environment, "SLURM_MEM_PER_GPU")
    for amount, count in ((per_node, 1), (per_cpu, cpus), (per_gpu, gpus)):
        if amount is not None:
            return amount * count * MIB or None
    return None
