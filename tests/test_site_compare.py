"""A profile against what clusters say of themselves: recorded texts, odd ones too, and every check on small made-up clusters."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from suite.launch.cluster import (
    Answer,
    Association,
    Cluster,
    NodeKind,
    Qos,
    ask,
    associations_in,
    gpus_in,
    node_kinds_in,
    partitions_in,
    qos_in,
    settings_in,
)
from suite.launch.site import Site
from suite.launch.site_check import commands, controller, interpreter, render, shell, variables
from suite.launch.site_compare import Finding, array_size, compare, max_submit, memory_of, misfit

# --- recorded texts ----------------------------------------------------------------------------

CONFIG = """\
Configuration data as of 2026-11-24T10:47:47
AccountingStorageEnforce = associations,limits,qos
AuthInfo                = socket=/tmp/x/munge.sock,cred_expire=5
JobAcctGatherParams     = (null)
KillWait                = 30 sec
MaxArraySize            = 10001
PowerPlugin             =
SchedulerParameters     = bf_interval=2,max_array_tasks=500
SlurmctldParameters     = enable_configless,preempt_send_user_signal

Cgroup Support Configuration:
AllowedRAMSpace         = 100.0%

Slurmctld(primary) at vm is UP
"""


def test_settings() -> None:
    cluster = Cluster(settings_in(CONFIG))
    assert cluster.config["AuthInfo"] == "socket=/tmp/x/munge.sock,cred_expire=5"
    assert cluster.config["JobAcctGatherParams"] == cluster.config["PowerPlugin"] == ""
    assert cluster.options("SlurmctldParameters").keys() == {"enable_configless", "preempt_send_user_signal"}
    assert cluster.options("SchedulerParameters") == {"bf_interval": "2", "max_array_tasks": "500"}
    assert settings_in("slurm_load_ctl_conf error: Unable to contact slurm controller") == {}


@pytest.mark.parametrize(
    ("enforce", "associations", "limits", "qos"),
    [
        ("none", False, False, False),
        ("", False, False, False),
        ("associations", True, False, False),
        ("associations,limits", True, True, False),
        ("associations,qos", True, False, True),
        ("safe", True, True, False),
        ("all", True, True, True),
        ("ASSOCIATIONS,LIMITS,QOS,SAFE", True, True, True),
    ],
)
def test_what_accounting_enforces(enforce: str, associations: bool, limits: bool, qos: bool) -> None:
    cluster = Cluster({"AccountingStorageEnforce": enforce})
    assert [cluster.enforces(what) for what in ("associations", "limits", "qos")] == [associations, limits, qos]


PARTITIONS = (
    "PartitionName=main AllowGroups=ALL AllowAccounts=ALL Default=YES QoS=N/A GraceTime=0 MaxTime=UNLIMITED Nodes=n[1-4] "
    "PreemptMode=REQUEUE State=UP TRES=cpu=16,mem=16000M,node=4,gres/gpu=4\n"
    "PartitionName=old AllowGroups=ALL Default=NO QoS=part_old MaxTime=7-00:00:00 Nodes=(null) State=DOWN \n"
)


def test_partitions() -> None:
    found = partitions_in(PARTITIONS)
    assert list(found) == ["main", "old"]
    assert found["main"]["TRES"] == "cpu=16,mem=16000M,node=4,gres/gpu=4"
    assert (found["old"]["State"], found["old"]["MaxTime"]) == ("DOWN", "7-00:00:00")
    assert partitions_in("") == partitions_in("slurm_load_partitions error: Invalid argument") == {}


@pytest.mark.parametrize(
    ("gres", "gpus"),
    [
        ("(null)", {}),
        ("", {}),
        ("gpu:2", {"": 2}),
        ("gpu", {"": 1}),
        ("gpu:a100", {"a100": 1}),
        ("gpu:a100:4(S:0-1)", {"a100": 4}),
        ("gpu:a100:4(S:0,1),nvme:2", {"a100": 4}),
        ("gpu:tesla:2,gpu:kepler:1,gpu:tesla:1", {"tesla": 3, "kepler": 1}),
        ("gpu:1g.5gb:7(S:0)", {"1g.5gb": 7}),
        ("shard:8,gpumem:80", {}),
    ],
)
def test_gpus(gres: str, gpus: dict[str, int]) -> None:
    assert gpus_in(gres) == gpus


def test_node_kinds() -> None:
    text = "main*|idle|4|4000|gpu:2|gpu\nmain*|mix-|8+|64000+|(null)|(null)\nbig|down*|128|1|gpu:h100:8(S:0,1)|x,y\nsinfo: error\n"
    found = node_kinds_in(text)
    assert found == (
        NodeKind("main", "idle", 4, 4000, {"": 2}, frozenset({"gpu"})),
        NodeKind("main", "mix-", 8, 64000, {}, frozenset()),
        NodeKind("big", "down*", 128, 1, {"h100": 8}, frozenset({"x", "y"})),
    )


@pytest.mark.parametrize(
    ("state", "usable"),
    [("idle", True), ("mix", True), ("alloc", True), ("idle~", True), ("comp", True), ("resv", True)]
    + [(state, False) for state in ("down", "down*", "drain", "drng", "drained", "fail", "maint", "idle*", "unk")],
)
def test_usable_nodes(state: str, usable: bool) -> None:
    assert NodeKind("p", state, 1, 1, {}, frozenset()).usable is usable


@pytest.mark.parametrize("prompts", ["echoed", "before rows", "none"])
def test_limits(prompts: str) -> None:
    """sacctmgr shows its prompt and what it read differently with and without readline."""
    rows = [
        "me|||normal,short|77|root",
        "other|gpu|normal|normal||root",
        "normal|||00:00:00",
        "short|30|00:10:00|00:00:20",
    ]
    rows[0] = "me||normal,short|short|77|root"
    text = {
        "none": "\n".join(rows),
        "echoed": "\n".join(
            ["sacctmgr: show assoc", *rows[:2], "sacctmgr: show qos format=a,b", *rows[2:], "sacctmgr: quit"]
        ),
        "before rows": f"sacctmgr: {rows[0]}\n{rows[1]}\nsacctmgr: {rows[2]}\n{rows[3]}\nsacctmgr: ",
    }[prompts]
    assert associations_in(text) == (
        Association("me", "", ("normal", "short"), "short", 77),
        Association("other", "gpu", ("normal",), "normal", None),
    )
    assert qos_in(text) == {
        "normal": Qos("normal", None, "", "00:00:00"),
        "short": Qos("short", 30, "00:10:00", "00:00:20"),
    }
    assert associations_in("sacctmgr: error: Unable to contact slurmdbd|") == ()


def test_commands_that_fail_are_answers_too() -> None:
    assert ask("no-such-command-anywhere").error == "there is no no-such-command-anywhere here"
    assert ask("cat", stdin="x") == Answer(True, "x", "")
    assert not ask("false").ok


# --- checks ------------------------------------------------------------------------------------

NODES = (
    NodeKind("main", "idle", 4, 4000, {"": 2}, frozenset({"gpu", "fast"})),
    NodeKind("main", "idle", 64, 256000, {}, frozenset({"cpu"})),
    NodeKind("typed", "mix", 32, 128000, {"a100": 4, "v100": 2}, frozenset()),
    NodeKind("dead", "down*", 4, 8000, {}, frozenset()),
)


def partition(**settings: str) -> dict[str, str]:
    return {"Default": "NO", "State": "UP", "MaxTime": "UNLIMITED", "GraceTime": "60", "PreemptMode": "OFF", **settings}


def cluster(config: dict[str, str] | None = None, **settings: Any) -> Cluster:
    """A cluster where nothing is enforced or preempted, with four partitions."""
    partitions = {name: partition() for name in ("typed", "dead", "empty")}
    made = {"partitions": {"main": partition(Default="YES"), **partitions}, "kinds": NODES, **settings}
    return Cluster(config or {}, **made)


def problems(site: Site, of: Cluster) -> list[tuple[str, str]]:
    return [(finding.level, finding.what) for finding in compare(site, of) if finding.level != "ok"]


def test_a_fitting_profile_has_no_problems() -> None:
    assert problems(Site(), cluster()) == []
    assert problems(Site(partition="main,typed", gpus=2, memory="3G"), cluster()) == []


MISFITS = [
    ({"partition": "mian"}, "error", "no partition 'mian'; allowed: main, typed, dead, empty - did you mean 'main'?"),
    ({"partition": "empty"}, "warning", "nothing is known of the nodes of empty"),
    ({"partition": "dead"}, "warning", "dead: all nodes that would fit are down or drained now"),
    ({"cpus": 65}, "error", "main: no such node has 65 processors; the largest has 64"),
    ({"memory": "1T"}, "error", "main: no such node has 1048576 MiB of memory; the largest has 256000"),
    ({"gpus": 3}, "error", "main: no node has 3 GPU; there are: 2 without type"),
    ({"gpus": 1, "gpu_type": "a100"}, "error", "main: no node has 1 a100 GPU; there are: 2 without type"),
    ({"partition": "typed", "gpus": 3, "gpu_type": "v100"}, "error", "typed: no node has 3 v100 GPU; there are: 4 a100, 2 v100"),
    ({"partition": "dead", "gpus": 1}, "error", "dead: no node has 1 GPU; there are: none"),
    ({"gpus": 1, "cpus": 5}, "error", "main: no such node has 5 processors; the largest has 4"),
    ({"constraint": "gpu&slow"}, "error", "main: no node has the feature slow of constraint 'gpu&slow'"),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "level", "what"), MISFITS, ids=[what for _, _, what in MISFITS])
def test_what_does_not_fit(settings: dict[str, Any], level: str, what: str) -> None:
    assert problems(Site(**settings), cluster()) == [(level, what)]


def test_one_node_must_have_everything_at_once() -> None:
    kinds = [NodeKind("p", "idle", 64, 1000, {}, frozenset()), NodeKind("p", "idle", 2, 9000, {"": 1}, frozenset())]
    many = Site(cpus=8, memory="4000M")
    assert misfit(many, kinds) == "no such node has 4000 MiB of memory; the largest has 1000"
    assert misfit(Site(cpus=8, memory="500M"), kinds) is None
    assert misfit(Site(cpus=2, memory="4000M", gpus=1), kinds) is None


@pytest.mark.parametrize("constraint", ["slow|gpu", "[a|b]", "gpu&fast", "gpu,cpu"])
def test_constraints_that_may_be_met(constraint: str) -> None:
    assert misfit(Site(constraint=constraint), list(NODES[:2])) is None


def test_gpus_that_are_not_asked_for_are_not_looked_for() -> None:
    assert problems(Site(partition="dead", gpus=1, gpu_style="none"), cluster(kinds=(NODES[3],))) == [
        ("warning", "dead: all nodes that would fit are down or drained now")
    ]


@pytest.mark.parametrize(
    ("settings", "mib"),
    [
        ({"memory": "4G", "cpus": 3}, 4096),
        ({"memory": "4G", "memory_style": "mem-per-cpu", "cpus": 3}, 12288),
        ({"memory": "1T", "memory_style": "mem-per-gpu", "gpus": 2}, 2 * 1024**2),
        ({"memory": "2048K"}, 2),
        ({"memory": "0"}, 0),
        ({"memory_style": "none"}, 0),
    ],
)
def test_memory_of_a_task(settings: dict[str, Any], mib: int) -> None:
    assert memory_of(Site(**settings)) == mib


def test_one_partition_of_two_may_not_fit_unless_the_cluster_insists() -> None:
    site = Site(partition="main,typed", gpus=1, gpu_type="a100")
    assert [level for level, _ in problems(site, cluster())] == ["warning"]
    assert [level for level, _ in problems(site, cluster({"EnforcePartLimits": "ALL"}))] == ["error"]


def test_states_and_limits_of_partitions() -> None:
    of = cluster(partitions={"main": partition(State="DRAIN", MaxTime="02:00:00")})
    assert problems(Site(partition="main"), of) == [
        ("error", "partition main is DRAIN"),
        ("error", "time 04:00:00 is more than partition main allows: 02:00:00"),
    ]
    assert problems(Site(time="02:00:00", partition="main"), of) == [("error", "partition main is DRAIN")]
    assert problems(Site(), of) == [("error", "the cluster has no default partition")]


ACCOUNTS = (Association("mine", "", ("normal", "short"), "", 200), Association("ours", "", ("normal",), "", 50))
QOS = {"normal": Qos("normal", None, "", ""), "short": Qos("short", 30, "01:00:00", "00:00:20")}
STRICT = {"AccountingStorageEnforce": "associations,limits,qos"}


def accounted(config: dict[str, str] = STRICT, **settings: Any) -> Cluster:
    return cluster(config, **{"associations": ACCOUNTS, "qos": QOS, **settings})


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"account": "mine"}, []),
        ({"account": "mnie"}, [("error", "you may not charge account mnie; allowed: mine, ours - did you mean 'mine'?")]),
        ({"account": "ours", "qos": "short"}, [
            ("error", "time 04:00:00 is more than QOS short allows: 01:00:00"),
            ("error", "you may not use QOS 'short'; allowed: normal"),
        ]),
        ({"account": "mine", "qos": "short", "time": "30"}, []),
    ],
)  # fmt: skip
def test_accounts_and_qos(settings: dict[str, Any], found: list[tuple[str, str]]) -> None:
    assert problems(Site(**settings), accounted()) == found


def test_accounts_do_not_matter_where_nothing_is_enforced() -> None:
    assert problems(Site(account="nobody", qos="no"), accounted({})) == []


def test_no_account_at_all() -> None:
    assert problems(Site(), accounted(associations=())) == [
        ("error", "you may not charge account by default; allowed: ")
    ]


@pytest.mark.parametrize(
    ("settings", "most"),
    [
        ({}, 50),  # which account is the default is not known
        ({"account": "mine"}, 200),
        ({"account": "mine", "qos": "short"}, 30),
        ({"account": "nobody"}, None),
    ],
)
def test_most_tasks_in_the_queue(settings: dict[str, Any], most: int | None) -> None:
    assert max_submit(Site(**settings), accounted()) == most


def test_qos_of_the_partition_counts_too() -> None:
    of = accounted(partitions={"main": partition(QoS="short")})
    assert max_submit(Site(partition="main", account="mine"), of) == 30


def test_association_of_another_partition_does_not_count() -> None:
    of = accounted(associations=(Association("mine", "typed", (), "", 5), Association("mine", "", (), "", 9)))
    assert max_submit(Site(partition="main"), of) == 9
    assert max_submit(Site(partition="typed"), of) == 5


def test_too_high_a_submit_limit_is_told() -> None:
    assert problems(Site(max_submit=100, account="ours"), accounted()) == [
        ("warning", "the cluster lets you have 50 tasks in the queue at once")
    ]


@pytest.mark.parametrize(
    ("config", "size"),
    [
        ({}, 1001),
        ({"MaxArraySize": "50"}, 50),
        ({"MaxArraySize": "50", "SchedulerParameters": "max_array_tasks=20,x"}, 20),
        ({"MaxArraySize": "50", "SchedulerParameters": "max_array_tasks=200"}, 50),
    ],
)
def test_size_of_arrays(config: dict[str, str], size: int) -> None:
    assert array_size(Cluster(config)) == size


def test_arrays_that_are_too_large_or_impossible() -> None:
    large = ("error", "max_array_size 2000 is more than the cluster's 1001")
    assert problems(Site(max_array_size=2000), cluster()) == [large]
    assert problems(Site(), cluster({"MaxArraySize": "0"})) == [
        ("error", "the cluster takes no job arrays (MaxArraySize=0)")
    ]


SIGNAL = {"PreemptType": "preempt/partition_prio", "SlurmctldParameters": "preempt_send_user_signal"}


@pytest.mark.parametrize(
    ("config", "settings", "level", "what"),
    [
        ({}, {}, "ok", "the cluster does not preempt jobs"),
        (SIGNAL, {"PreemptMode": "OFF"}, "ok", "jobs in main are not preempted"),
        (SIGNAL, {}, "ok", "preempted tasks in main get SIGUSR2, 60 s before they are killed"),
        (SIGNAL | {"KillWait": "30 sec"}, {"GraceTime": "0"}, "ok", "get SIGUSR2, 30 s"),
        (SIGNAL | {"KillWait": "5 sec"}, {"GraceTime": "0"}, "warning", "get SIGUSR2, 5 s"),
        (SIGNAL | {"SlurmctldParameters": ""}, {}, "warning", "get only SIGTERM, 60 s"),
        (SIGNAL, {"PreemptMode": "GANG,SUSPEND"}, "warning", "are suspended"),
        (SIGNAL, {"PreemptMode": "CANCEL"}, "warning", "are cancelled"),
        (SIGNAL | {"PreemptType": "preempt/qos"}, {"GraceTime": "0"}, "ok", "get SIGUSR2, 20 s"),
        (SIGNAL, {"GraceTime": "0"}, "ok", "get SIGUSR2, 30 s"),  # the QOS's grace time does not count here
    ],
)
def test_preemption(config: dict[str, str], settings: dict[str, str], level: str, what: str) -> None:
    main = partition(**{"PreemptMode": "REQUEUE", **settings})
    found = compare(Site(partition="main", qos="short", time="60"), cluster(config, partitions={"main": main}, qos=QOS))
    assert [finding.level for finding in found if what in finding.what] == [level]


def test_time_lost_to_the_warning() -> None:
    assert [level for level, what in problems(Site(time="3", signal_seconds=100), cluster()) if "lost" in what] == [
        "warning"
    ]


# --- this machine ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ping", "level"),
    [
        ("Slurmctld(primary) at vm is UP\n", "ok"),
        ("Slurmctld(primary) at a is DOWN\nSlurmctld(backup) at b is UP\n", "ok"),
        ("Slurmctld(primary/backup) at a/(NULL) are UP/DOWN\n", "ok"),
        ("Slurmctld(primary) at vm is DOWN\n", "error"),
        ("", "error"),
    ],
)
def test_controller(ping: str, level: str) -> None:
    assert [finding.level for finding in controller(Answer(True, ping, ""))] == [level]


def test_missing_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    (finding,) = commands(Site(srun=False))
    assert (finding.level, finding.what) == ("error", "not found: sbatch, squeue, scontrol, scancel")
    assert next(commands(Site())).what.endswith("scancel, srun")


def test_variables_that_override_the_profile() -> None:
    assert list(variables({"PATH": "x", "SLURM_CONF": "y"})) == []
    found = list(variables({"SBATCH_TIMELIMIT": "5", "SBATCH_ACCOUNT": "me", "SLURM_JOB_ID": "7"}))
    assert [finding.level for finding in found] == ["warning", "warning"]
    assert found[0].next_step == "unset SBATCH_ACCOUNT SBATCH_TIMELIMIT"


@pytest.mark.parametrize(
    ("settings", "levels"),
    [
        ({}, []),
        ({"setup": ("source x", "for i in 1; do echo; done")}, ["ok"]),
        ({"setup": ("if true; then",)}, ["error"]),
        ({"setup": ("f() {", "true", "}")}, ["ok"]),
    ],
)
def test_shell_lines(settings: dict[str, Any], levels: list[str]) -> None:
    assert [finding.level for finding in shell(Site(**settings))] == levels


def test_module_command_that_is_not_there(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    site = Site(modules=("spack load x",))
    assert [finding.level for finding in shell(site)] == ["ok", "warning"]
    (tmp_path / ".bash_profile").write_text("spack() { true; }\n")
    assert [finding.level for finding in shell(site)] == ["ok"]


def test_interpreter() -> None:
    assert list(interpreter(Site())) == list(interpreter(Site(python="bash -c"))) == []
    assert [finding.level for finding in interpreter(Site(python="/no/python -u"))] == ["warning"]


def test_view_shows_what_to_do() -> None:
    console = Console(width=60, record=True)
    console.print(render([Finding("ok", "fine"), Finding("error", "bad [x]", "do this")]))
    assert [line.split() for line in console.export_text().splitlines()] == [
        ["ok", "fine"],
        ["error", "bad", "[x]"],
        ["do", "this"],
    ]
