"""What a Slurm cluster says of itself: settings, partitions, nodes, and the user's limits. Questions here, answers parsed apart."""

from __future__ import annotations

import getpass
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from suite.launch.command import Answer, NoAnswerError, run


def ask(*command: str, stdin: str = "") -> Answer:
    """Run a command; one that is missing or does not answer has failed."""
    try:
        return run(command, stdin=stdin)
    except NoAnswerError as error:
        return Answer(False, "", str(error))


@dataclass(frozen=True)
class NodeKind:
    """Nodes of a partition that are alike."""

    partition: str
    state: str
    cpus: int
    memory: int  # MiB
    gpus: dict[str, int]  # type ("" where it has none) -> number
    features: frozenset[str]

    @property
    def usable(self) -> bool:
        return not re.match(r"down|drain|drng|fail|maint|unk|futr|inval|.*\*$", self.state)  # *: does not respond

    def gpus_of(self, kind: str | None) -> int:
        return sum(self.gpus.values()) if kind is None else self.gpus.get(kind, 0)


@dataclass(frozen=True)
class Association:
    """A user's right to charge an account, with the limits in force."""

    account: str
    partition: str  # "" for all
    qos: tuple[str, ...]
    default_qos: str
    max_submit: int | None


@dataclass(frozen=True)
class Qos:
    """A quality of service."""

    name: str
    max_submit: int | None
    max_wall: str  # "" for no limit
    grace: str  # "" or 00:00:00 for none


@dataclass(frozen=True)
class Cluster:
    """Everything a profile is compared with. What could not be found out is empty."""

    config: dict[str, str]
    partitions: dict[str, dict[str, str]] = field(default_factory=dict)
    kinds: tuple[NodeKind, ...] = ()
    associations: tuple[Association, ...] = ()
    qos: dict[str, Qos] = field(default_factory=dict)

    def options(self, name: str) -> dict[str, str]:
        """A setting that is a list, such as SlurmctldParameters=a,b=2, as {"a": "", "b": "2"}."""
        pairs = (option.strip().partition("=") for option in self.config.get(name, "").split(","))
        return {key.lower(): value for key, _, value in pairs if key}

    def enforces(self, what: str) -> bool:
        """Whether "associations", "limits" or "qos" of the accounting are enforced; each kind includes the ones before."""
        implied = {"associations": {"limits", "qos", "safe", "wckeys"}, "limits": {"safe"}, "qos": set()}[what]
        return bool(({what, "all"} | implied) & self.options("AccountingStorageEnforce").keys())


def look() -> Cluster:
    """Ask for everything: four calls."""
    config = settings()
    associations, qos = user_limits(config.get("ClusterName", ""))
    return Cluster(
        config,
        partitions_in(ask("scontrol", "--all", "--oneliner", "show", "partition").out),
        node_kinds_in(ask("sinfo", "--all", "--noheader", "--exact", "--format=%P|%t|%c|%m|%G|%f").out),
        associations,
        qos,
    )


def settings() -> dict[str, str]:
    return settings_in(ask("scontrol", "show", "config").out)


def user_limits(cluster: str) -> tuple[tuple[Association, ...], dict[str, Qos]]:
    """The user's associations on a cluster ("": on all that the accounting knows), and every QOS; one call.

    sacctmgr takes several commands only from its input, which is why they are not arguments.
    """
    where = f"user={getpass.getuser()}" + (f" cluster={cluster}" if cluster else "")
    text = ask(
        *("sacctmgr", "--noheader", "--parsable2", "--readonly"),
        stdin=f"show assoc where {where} format=account,partition,qos,defaultqos,maxsubmitjobs,user\n"
        "show qos format=name,maxsubmitjobsperuser,maxwall,gracetime\nquit\n",
    ).out
    return associations_in(text), qos_in(text)


def settings_in(text: str) -> dict[str, str]:
    """Of `scontrol show config`: lines `Key = value`."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {key.strip(): "" if value.strip() == "(null)" else value.strip() for key, _, value in pairs}


def partitions_in(text: str) -> dict[str, dict[str, str]]:
    """Of `scontrol --oneliner show partition`: a line each, of words `Key=value`."""
    lines = [dict(re.findall(r"(\S+?)=(\S*)", line)) for line in text.splitlines()]
    return {line["PartitionName"]: line for line in lines if "PartitionName" in line}


def node_kinds_in(text: str) -> tuple[NodeKind, ...]:
    """Of `sinfo` with lines `partition|state|cpus|memory|gres|features`."""
    rows = [line.split("|") for line in text.splitlines()]
    return tuple(
        NodeKind(
            partition.rstrip("*"),
            state.lower(),
            _number(cpus) or 0,
            _number(memory) or 0,
            gpus_in(gres),
            frozenset(features.replace("(null)", "").split(",")) - {""},
        )
        for partition, state, cpus, memory, gres, features in (row for row in rows if len(row) == 6)
    )


def gpus_in(gres: str) -> dict[str, int]:
    """ "gpu:a100:4(S:0,1),nvme:2" -> {"a100": 4}; "gpu:2" -> {"": 2}; "(null)" -> {}."""
    counts: dict[str, int] = {}
    for entry in re.sub(r"\(.*?\)", "", gres).split(","):
        name, *rest = entry.strip().split(":")
        if name == "gpu":
            count = int(rest.pop()) if rest and rest[-1].isdigit() else 1
            kind = rest[0] if rest else ""
            counts[kind] = counts.get(kind, 0) + count
    return counts


def associations_in(text: str) -> tuple[Association, ...]:
    """Of lines `account|partition|qos,...|default qos|max submit|user`."""
    return tuple(
        Association(account, partition, tuple(filter(None, qos.split(","))), default, _number(submit))
        for account, partition, qos, default, submit, _ in _rows(text, 6)
    )


def qos_in(text: str) -> dict[str, Qos]:
    """Of lines `name|max submit of a user|max wall|grace time`."""
    return {name: Qos(name, _number(submit), wall, grace) for name, submit, wall, grace in _rows(text, 4)}


def _rows(text: str, columns: int) -> list[list[str]]:
    """The rows of one of sacctmgr's tables; depending on its build, prompts stand before them or on lines of their own."""
    rows = [line.removeprefix("sacctmgr: ").split("|") for line in text.splitlines()]
    return [row for row in rows if len(row) == columns]


def _number(text: str) -> int | None:
    """The whole number that a text begins with ("4000+", "30 sec"), None if there is none ("", "UNLIMITED")."""
    found = re.match(r"\s*(\d+)", text)
    return int(found[1]) if found else None


def number(config: dict[str, str], key: str, default: int) -> int:
    """A setting that is a number, perhaps with a unit."""
    found = _number(config.get(key, ""))
    return default if found is None else found


def smallest(values: Iterable[int | None]) -> int | None:
    """The least of those that are given."""
    return min((value for value in values if value is not None), default=None)
