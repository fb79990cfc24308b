"""A site profile compared with what its cluster says of itself. Pure: no check asks anything."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from suite.errors import choices
from suite.launch.cluster import Association, Cluster, NodeKind, Qos, number, smallest
from suite.launch.site import Site
from suite.launch.slurm_time import minutes_of, seconds, slurm_time

MAX_ARRAY_SIZE = 1001  # Slurm's default
SAVING = 10  # seconds within which a checkpoint should be saved after a warning

Level = Literal["ok", "warning", "error"]
Findings = Iterator["Finding"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    level: Level
    what: str
    next_step: str = ""


def compare(site: Site, cluster: Cluster) -> list[Finding]:
    """All checks that need nothing but what the cluster said."""
    checks = (partitions, time_limit, nodes, charge, arrays, submit_limit, preemption, requeue)
    return [finding for check in checks for finding in check(site, cluster)]


def partitions(site: Site, cluster: Cluster) -> Findings:
    """The partitions exist and take jobs."""
    known = _partitions(site, cluster)
    if not site.partitions and not known:
        yield Finding(
            "error", "the cluster has no default partition", f"set partition{choices('', cluster.partitions)}"
        )
    for name in site.partitions:
        if name not in known:
            yield Finding("error", f"no partition {name!r}{choices(name, cluster.partitions)}", "correct partition")
    for name, each in known.items():
        state = each.get("State", "UP")
        if state == "UP":
            yield Finding("ok", f"partition {name} is up")
        else:
            yield Finding(_level(cluster, known), f"partition {name} is {state}", "choose another, or wait")


def _level(cluster: Cluster, known: Iterable[str]) -> Level:
    """How bad it is if one of these partitions cannot run a job: the others may, unless the cluster insists on all."""
    insists = cluster.config.get("EnforcePartLimits") in ("ALL", "YES")
    return "error" if insists or len(list(known)) == 1 else "warning"


def time_limit(site: Site, cluster: Cluster) -> Findings:
    """The time limit is within that of the partitions and of the QOS."""
    known = _partitions(site, cluster)
    limits = {f"partition {name}": (each.get("MaxTime", ""), _level(cluster, known)) for name, each in known.items()}
    if cluster.enforces("limits"):
        limits |= {f"QOS {each.name}": (each.max_wall, "error") for each in _my_qos(site, cluster) if each.max_wall}
    for owner, (text, level) in limits.items():
        most = _minutes(text)
        if most is not None and most < site.minutes:
            yield Finding(level, f"time {site.time} is more than {owner} allows: {slurm_time(most)}", "lower time")
        else:
            yield Finding("ok", f"time {site.time} is within {owner}'s limit ({slurm_time(most)})")


def _minutes(text: str) -> int | None:
    """Slurm's time limits; None for none, in whatever words."""
    try:
        return minutes_of(text)
    except ValueError:
        return None


def nodes(site: Site, cluster: Cluster) -> Findings:
    """Some node of each partition has what a task asks for."""
    known = _partitions(site, cluster)
    for name in known:
        kinds = [kind for kind in cluster.kinds if kind.partition == name]
        if not kinds:
            yield Finding("warning", f"nothing is known of the nodes of {name}", f"look at sinfo -p {name}")
        elif problem := misfit(site, kinds):
            yield Finding(
                _level(cluster, known), f"{name}: {problem}", "change the profile, or choose another partition"
            )
        elif misfit(site, [kind for kind in kinds if kind.usable]):
            yield Finding(
                "warning", f"{name}: all nodes that would fit are down or drained now", "jobs will wait for them"
            )
        else:
            yield Finding("ok", f"{name} has nodes for {_request(site)}")


def _request(site: Site) -> str:
    """What a task asks for, in words."""
    gpus = f", {site.gpus} {site.gpu_type or ''} GPU".replace("  ", " ") if site.gpus else ""
    memory = "" if site.memory_style == "none" else f", {site.memory} ({site.memory_style})"
    return f"{site.cpus} CPU{gpus}{memory}" + (f", {site.constraint}" if site.constraint else "")


def misfit(site: Site, kinds: list[NodeKind]) -> str | None:
    """What no node has of that which a task asks for, None if some node has it all."""
    if not kinds:
        return "no node"
    if unknown := _features(site) - {feature for kind in kinds for feature in kind.features}:
        return f"no node has the feature {', '.join(sorted(unknown))} of constraint {site.constraint!r}"
    fitting = [kind for kind in kinds if site.gpu_style == "none" or kind.gpus_of(site.gpu_type) >= site.gpus]
    if not fitting:
        return f"no node has {site.gpus} {site.gpu_type or ''} GPU; there are: {_gpus(kinds)}".replace("  ", " ")
    if not (large := [kind for kind in fitting if kind.cpus >= site.cpus]):
        return f"no such node has {site.cpus} processors; the largest has {max(kind.cpus for kind in fitting)}"
    if not any(kind.memory >= memory_of(site) for kind in large):
        return f"no such node has {memory_of(site)} MiB of memory; the largest has {max(kind.memory for kind in large)}"
    return None


def _gpus(kinds: list[NodeKind]) -> str:
    """What nodes have, in words: "4 a100, 2 without type"."""
    pairs = {(count, kind or "without type") for each in kinds for kind, count in each.gpus.items()}
    return ", ".join(f"{count} {kind}" for count, kind in sorted(pairs, reverse=True)) or "none"


def _features(site: Site) -> set[str]:
    """The features that nodes must have; of alternatives none must."""
    expression = site.constraint or ""
    return set() if re.search(r"[|\[(*]", expression) else set(re.split(r"[&,]", expression)) - {""}


def memory_of(site: Site) -> int:
    """MiB that a task asks for on its node."""
    found = re.match(r"(\d+)([KMGT]?)", site.memory)
    assert found  # checked when the profile was made
    each = int(found[1]) * {"K": 1 / 1024, "": 1, "M": 1, "G": 1024, "T": 1024**2}[found[2]]
    return int(each * {"mem": 1, "mem-per-cpu": site.cpus, "mem-per-gpu": site.gpus, "none": 0}[site.memory_style])


def charge(site: Site, cluster: Cluster) -> Findings:
    """The user may charge the account and use the QOS."""
    if not cluster.enforces("associations"):
        return
    mine = _associations(site, cluster)
    names = sorted({each.account for each in mine})
    if not mine:
        accounts = dict.fromkeys(each.account for each in cluster.associations)
        what = f"you may not charge account {site.account or 'by default'}{choices(site.account, accounts)}"
        yield Finding("error", what, "correct account; sacctmgr show assoc user=$USER lists yours")
    elif site.qos and not any(site.qos in each.qos for each in mine):
        allowed = dict.fromkeys(name for each in mine for name in each.qos)
        level: Level = "error" if cluster.enforces("qos") else "warning"
        yield Finding(level, f"you may not use QOS {site.qos!r}{choices(site.qos, allowed)}", "correct qos")
    else:
        yield Finding("ok", f"account {', '.join(names)}, QOS {site.qos or 'by default'}")


def arrays(site: Site, cluster: Cluster) -> Findings:
    """Arrays are possible, and not larger than the cluster takes them."""
    raw, size = number(cluster.config, "MaxArraySize", MAX_ARRAY_SIZE), array_size(cluster)
    jobs = number(cluster.config, "MaxJobCount", 10000)
    if raw < 1:
        yield Finding("error", "the cluster takes no job arrays (MaxArraySize=0)", "use --backend ray")
    elif site.max_array_size and site.max_array_size > size:
        yield Finding(
            "error", f"max_array_size {site.max_array_size} is more than the cluster's {size}", "lower or remove it"
        )
    else:
        yield Finding(
            "ok", f"arrays of up to {site.max_array_size or size} tasks; {jobs} jobs of all users at once (MaxJobCount)"
        )


def submit_limit(site: Site, cluster: Cluster) -> Findings:
    """How many tasks may be in the queue."""
    most = max_submit(site, cluster) if cluster.enforces("limits") else None
    if most is not None and (site.max_submit is None or site.max_submit > most):
        level: Level = "warning" if site.max_submit else "ok"
        step = f"set max_submit to at most {most}" if site.max_submit else ""
        yield Finding(level, f"the cluster lets you have {most} tasks in the queue at once", step)
    else:
        yield Finding("ok", f"tasks in the queue at once: {site.max_submit or 'no limit is known'}")


def preemption(site: Site, cluster: Cluster) -> Findings:
    """What a task is told before it is preempted, and how long it then has."""
    if cluster.config.get("PreemptType", "preempt/none") in ("", "preempt/none"):
        yield Finding("ok", "the cluster does not preempt jobs")
        return
    for name, each in _partitions(site, cluster).items():
        mode = each.get("PreemptMode", cluster.config.get("PreemptMode", "OFF")).upper()
        yield from _preempted(site, cluster, name, mode, each.get("GraceTime", "0"))


def _preempted(site: Site, cluster: Cluster, name: str, mode: str, grace_time: str) -> Findings:
    if "OFF" in mode:
        yield Finding("ok", f"jobs in {name} are not preempted")
    elif "SUSPEND" in mode:
        what = f"preempted jobs in {name} are suspended: their claims expire, and other tasks do their trials again"
        yield Finding("warning", what, "prefer a partition whose PreemptMode is REQUEUE or OFF")
    else:
        if "CANCEL" in mode:
            what = f"preempted jobs in {name} are cancelled, not queued again by Slurm"
            yield Finding("warning", what, "if tasks cannot requeue themselves in time, call slq submit again")
        yield from _warned(site, cluster, name, grace_time)


def _warned(site: Site, cluster: Cluster, name: str, grace_time: str) -> Findings:
    by_qos = cluster.config.get("PreemptType") == "preempt/qos"
    graces = [grace_time, *(each.grace for each in _my_qos(site, cluster) if by_qos)]
    longest = max(float(each) if each.isdigit() else seconds(each) or 0 for each in graces)
    grace = int(longest) or number(cluster.config, "KillWait", 30)
    signal = "SIGUSR2" if "preempt_send_user_signal" in cluster.options("SlurmctldParameters") else "only SIGTERM"
    what = f"preempted tasks in {name} get {signal}, {grace} s before they are killed"
    if grace < SAVING:
        yield Finding("warning", what, "if that is too short to save, trials go on from their last regular checkpoint")
    elif signal != "SIGUSR2":
        yield Finding(
            "warning", what, "the suite saves on SIGTERM too; better: SlurmctldParameters=preempt_send_user_signal"
        )
    else:
        yield Finding("ok", what)


def requeue(site: Site, cluster: Cluster) -> Findings:
    """Jobs can come back to the queue."""
    if number(cluster.config, "JobRequeue", 1):
        yield Finding("ok", "jobs are queued again after a node failed (JobRequeue=1)")
    else:
        yield Finding("ok", "JobRequeue=0, so the suite asks for it with --requeue")
    if site.signal_seconds * 2 > site.minutes * 60:
        what = f"tasks stop {site.signal_seconds} s before their limit of {site.minutes} min: more than half of the time is lost"
        yield Finding("warning", what, "raise time or lower signal_seconds")


# --- what of a cluster concerns a profile ------------------------------------------------------


def array_size(cluster: Cluster) -> int:
    """Most tasks in one array."""
    most_tasks = cluster.options("SchedulerParameters").get("max_array_tasks", "")
    size = number(cluster.config, "MaxArraySize", MAX_ARRAY_SIZE)
    return max(1, min(size, int(most_tasks))) if most_tasks.isdigit() else max(1, size)


def max_submit(site: Site, cluster: Cluster) -> int | None:
    """The least of the limits that may apply; which of several accounts is the default is not known here."""
    own, qos = _associations(site, cluster), _my_qos(site, cluster)
    return smallest([*(each.max_submit for each in own), *(each.max_submit for each in qos)])


def _associations(site: Site, cluster: Cluster) -> list[Association]:
    """Those that a job of this profile may be charged to."""
    return [
        each
        for each in cluster.associations
        if site.account in (None, each.account)
        and (not each.partition or each.partition in (site.partitions or [each.partition]))
    ]


def _my_qos(site: Site, cluster: Cluster) -> list[Qos]:
    """The QOS that jobs of this profile get: the profile's, or the associations' defaults, and those of the partitions."""
    of_partitions = {each.get("QoS", "") for each in _partitions(site, cluster).values()}
    own = {site.qos} if site.qos else {each.default_qos or "normal" for each in _associations(site, cluster)}
    return [cluster.qos[name] for name in sorted(own | of_partitions) if name in cluster.qos]


def _partitions(site: Site, cluster: Cluster) -> dict[str, dict[str, str]]:
    """The cluster's partitions that this profile names, or its default one."""
    wanted = site.partitions or [name for name, each in cluster.partitions.items() if each.get("Default") == "YES"]
    return {name: cluster.partitions[name] for name in wanted if name in cluster.partitions}
