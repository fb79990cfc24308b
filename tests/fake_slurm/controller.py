"""The controller: one process for a state folder, started by the first command that needs it, gone soon after the last task.

It sleeps until a child ends (SIGCHLD), a command has left a request (SIGUSR1) or a timer is due.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import heapq
import itertools
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.fake_slurm import forms, store
from tests.fake_slurm.store import Task, setting

LINGER = 2.0  # seconds that it stays when there is nothing to do
LOOK = 0.03  # seconds between looks whether the processes of an ending task are gone
ANSWER = 0.1  # seconds before a task is signalled, so that it can be told that its own request was accepted
GAP = 0.01  # seconds between SIGCONT and SIGTERM: a shell may lose one of two trapped signals that come at once
PR_SET_CHILD_SUBREAPER = 36
WAKE = (signal.SIGUSR1, signal.SIGCHLD)


def serve() -> int:
    signal.pthread_sigmask(signal.SIG_BLOCK, WAKE)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # orphans of tasks become its children, to be reaped
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - the lock that the starting command passed on is not for tasks
        if int(name) > 2:
            try:
                fcntl.fcntl(int(name), fcntl.F_SETFD, fcntl.FD_CLOEXEC)
            except OSError:  # that of the listing itself
                continue
    Controller().run()
    return 0


class Controller:
    def __init__(self) -> None:
        self.tasks = {task["key"]: task for task in store.tasks()}
        self.batch: dict[int, str] = {}  # process -> key
        self.timers: list[tuple[float, int, Callable[[], object]]] = []
        self.count = itertools.count()
        self.running = True
        for task in self.live():  # left by a controller that was killed: they are not our children
            task["pid"] = None
            self.end(task, "NODE_FAIL", again=True)

    def run(self) -> None:
        busy = time.time()
        while True:
            self.serve_requests()
            if not self.running:  # nothing may start any more
                return
            self.reap()
            while self.timers and self.timers[0][0] <= time.time():
                heapq.heappop(self.timers)[2]()
            self.schedule()
            if any(task["state"] in store.LIVE for task in self.tasks.values()):
                busy = time.time()
            elif time.time() - busy > LINGER and self.leave():
                return
            due = self.timers[0][0] - time.time() if self.timers else LINGER
            signal.sigtimedwait(WAKE, min(LINGER, max(0.0, due)))

    def leave(self) -> bool:
        """End, unless a request came: requests are placed with the lock."""
        with store.locked():
            if any((store.folder() / "requests").glob("[!.]*.json")):
                return False
            os._exit(0)  # releases the controller's lock before the other one

    def live(self) -> list[Task]:
        return [task for task in self.tasks.values() if task["state"] in ("RUNNING", "COMPLETING")]

    def after(self, seconds: float, task: Task, action: Callable[[Task], object]) -> None:
        """Do something with the task later, unless that run of it has ended by then."""
        run = task["restarts"]

        def act() -> None:
            if task["restarts"] == run and task["state"] in ("RUNNING", "COMPLETING"):
                action(task)

        heapq.heappush(self.timers, (time.time() + seconds, next(self.count), act))

    # --- requests ---------------------------------------------------------------------------------

    def serve_requests(self) -> None:
        for path in sorted((store.folder() / "requests").glob("[!.]*.json")):
            request = json.loads(path.read_text())
            verb = request.pop("verb")
            if verb == "stop":
                self.stop()
            elif verb == "submit":
                self.submit(request["job"])
            else:
                for key in request.pop("keys"):
                    getattr(self, verb)(self.tasks[key], **request)
            path.unlink()

    def submit(self, job: int) -> None:
        for path in (store.folder() / "tasks").glob(f"{job}*.json"):
            task = json.loads(path.read_text())
            if task["array"] == job:
                self.tasks[task["key"]] = task
        self.tasks = dict(sorted(self.tasks.items(), key=lambda item: store.order(item[1])))

    def requeue(self, task: Task) -> None:
        if task["state"] == "RUNNING":
            self.end(task, "REQUEUED", again=True, why=" DUE TO JOB REQUEUE")
        elif task["state"] == "COMPLETING":  # however it ends, it runs again
            task["final"] = "REQUEUED" if task["final"] in ("COMPLETED", "FAILED") else task["final"]
            task["again"] = True
            store.save(task)
        elif task["state"] != "PENDING":
            self.close(task, "REQUEUED", status=task["status"], again=True)

    def cancel(self, task: Task, alone: bool) -> None:
        """An array's element that is cancelled alone before it started leaves no trace in accounting."""
        cancelled = f"CANCELLED by {os.getuid()}"
        if task["state"] == "PENDING":
            task |= {"state": cancelled, "end": time.time(), "hidden": alone and not task["history"]}
            store.save(task)
        elif task["state"] == "RUNNING":
            self.end(task, cancelled)
        elif task["state"] == "COMPLETING":
            task |= {"final": cancelled, "again": False}
            store.save(task)

    def signal(self, task: Task, number: int, batch: bool, steps: bool) -> None:
        if task["state"] == "RUNNING":
            self.send(task, number, batch=batch, steps=steps)

    def preempt(self, task: Task, number: int | None) -> None:
        """Warn the task, with this signal if one is given, and end it after the grace period."""
        if task["state"] != "RUNNING":
            return
        task["preempted"] = time.time()
        store.save(task)
        if number is not None:
            self.send(task, signal.SIGCONT, number, steps=True)
        elif task["signal"] and setting("preempt_send_user_signal") == "1":
            self.warn(task)
        else:
            self.note(task, "", job=False)
            self.send(task, signal.SIGCONT, signal.SIGTERM, steps=True)
        again, why = task["requeue"], " DUE TO PREEMPTION"
        self.after(float(setting("grace")), task, lambda task: self.end(task, "PREEMPTED", again=again, why=why))

    def timeout(self, task: Task) -> None:
        """Let the time pass until its end is near, as its --signal says; then, after the grace period, the rest."""
        if task["state"] == "RUNNING":
            self.skip(task, before=task["signal"]["before"] if task["signal"] else 0)
            self.warn(task)
            self.after(float(setting("grace")), task, self.time_is_up)

    def skip(self, task: Task, before: float = 0) -> None:
        """Put the task's clock forward to its limit, or so many seconds before it."""
        if task["limit"] is not None:
            task["skipped"] += max(0.0, task["limit"] - before - forms.ran(task))
            store.save(task)

    def warn(self, task: Task) -> None:
        if task["signal"] and task["state"] == "RUNNING":
            to_batch = task["signal"]["batch"]
            self.send(task, signal.SIGCONT, task["signal"]["number"], batch=to_batch, steps=not to_batch)

    def time_is_up(self, task: Task) -> None:
        if task["state"] == "RUNNING":
            self.skip(task)
            self.end(task, "TIMEOUT", why=" DUE TO TIME LIMIT")

    def node_fail(self, task: Task) -> None:
        """The node of the task dies with all that runs there."""
        for other in self.live():
            if set(other["on"]) & set(task["on"]):
                self.end(other, "NODE_FAIL", again=other["requeue"])

    def kill(self, task: Task) -> None:
        """Somebody kills -9 all processes of the task."""
        store.kill_all(self.mark(task))

    def oom(self, task: Task) -> None:
        self.end(task, "OUT_OF_MEMORY")

    def release(self, task: Task) -> None:
        if task["reason"] == "JobHeldUser":
            self.wait(task, "None")

    def stop(self) -> None:
        """Kill everything; all that was killed is our child, or becomes it, and is waited for."""
        store.kill_all(f"{store.folder()}/")
        with contextlib.suppress(ChildProcessError):
            while True:
                os.wait()
        for task in self.tasks.values():
            if task["state"] in store.LIVE:
                store.save(task | {"state": "CANCELLED", "end": time.time(), "pid": None})
        self.running = False

    # --- starting ---------------------------------------------------------------------------------

    def schedule(self) -> None:
        live = self.live()
        free = int(setting("slots")) - len(live)
        blocked = "Resources"
        for task in [task for task in self.tasks.values() if task["state"] == "PENDING"]:
            same = sum(other["array"] == task["array"] for other in live)
            if task["reason"] == "JobHeldUser":
                continue
            if task["eligible"] > time.time():
                self.wait(task, "BeginTime")
                heapq.heappush(self.timers, (task["eligible"], next(self.count), lambda: None))
            elif task["throttle"] and same >= task["throttle"]:
                self.wait(task, "JobArrayTaskLimit")
            elif free <= 0 or not (nodes := self.place(task, live)):
                self.wait(task, blocked)
                blocked = "Priority"
            else:
                self.start(task, nodes)
                live.append(task)
                free -= 1

    def wait(self, task: Task, reason: str) -> None:
        if task["reason"] != reason:
            task["reason"] = reason
            store.save(task)

    def place(self, task: Task, live: list[Task]) -> list[str]:
        """Nodes with enough free GPUs, those that run the fewest tasks first; none if there are too few."""
        able = [node for node in task["allowed"] if len(self.free_gpus(node, live)) >= task["gpus"]]
        able.sort(key=lambda node: sum(node in other["on"] for other in live))
        return sorted(able[: task["nodes"]]) if len(able) >= task["nodes"] else []

    def free_gpus(self, node: str, live: list[Task]) -> list[int]:
        taken = {number for other in live if node in other["on"] for number in other["devices"]}
        return [number for number in range(store.NODES[node]) if number not in taken]

    def start(self, task: Task, nodes: list[str]) -> None:
        gpus = self.free_gpus(nodes[0], self.live())[
            : task["gpus"]
        ]  # of the first node: the same numbers on all of them
        task |= {"on": nodes, "devices": gpus, "state": "RUNNING", "start": time.time(), "end": None, "preempted": None}
        task["job"] = task["job"] or self.raw_id(task)
        if task["reason"] not in ("BeginTime", "JobArrayTaskLimit"):
            task["reason"] = "None"
        try:
            self.launch(task)
        except OSError:  # no such folder for its output
            task["reason"] = "JobLaunchFailure"
            self.close(task, "FAILED", status=53)
            return
        store.save(task)
        if task["limit"] is not None:
            scale = float(setting("minute")) / 60
            self.after(task["limit"] * scale, task, self.time_is_up)
            if task["signal"]:
                self.after(max(0.0, task["limit"] - task["signal"]["before"]) * scale, task, self.warn)

    def raw_id(self, task: Task) -> int:
        """Each element of an array gets a job id of its own when it starts; the last one has the array's."""
        others = [t for t in self.tasks.values() if t["array"] == task["array"] and t["job"] == 0]
        if len(others) <= 1:
            return int(task["array"])
        with store.locked():
            return store.next_job_id()

    def launch(self, task: Task) -> None:
        folder = store.folder() / "jobs" / str(task["array"])
        append = task["options"].get("open-mode", "").startswith("a")
        flags = os.O_WRONLY | os.O_CREAT | (os.O_APPEND if append else os.O_TRUNC)
        output, error = self.output(task), self.error(task)
        out = os.open(output, flags, 0o644)
        err = out
        try:
            err = out if error == output else os.open(error, flags, 0o644)
            process = subprocess.Popen(
                [folder / "slurm_script", *task["arguments"]],
                cwd=task["directory"],
                env=json.loads((folder / "environment.json").read_text()) | self.environment(task),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, []),
            )
        finally:
            for descriptor in {out, err}:
                os.close(descriptor)
        process.returncode = 0  # reaped by reap(), not by its destructor
        task["pid"] = process.pid
        self.batch[process.pid] = task["key"]

    def output(self, task: Task) -> Path:
        pattern = task["options"].get("output") or ("slurm-%j.out" if task["index"] is None else "slurm-%A_%a.out")
        return Path(task["directory"]) / forms.file_name(pattern, task, node=task["on"][0])

    def error(self, task: Task) -> Path:
        pattern = task["options"].get("error")
        return (
            Path(task["directory"]) / forms.file_name(pattern, task, node=task["on"][0])
            if pattern
            else self.output(task)
        )

    def mark(self, task: Task) -> str:
        return f"{store.folder()}/{task['key']}/"

    def environment(self, task: Task) -> dict[str, str]:
        nodes, options, gpus = forms.host_list(task["on"]), task["options"], ",".join(map(str, task["devices"]))
        found: dict[str, Any] = {
            store.MARK: self.mark(task),
            "FAKE_SLURM": store.folder(),
            "SLURM_JOB_ID": task["job"],
            "SLURM_JOBID": task["job"],
            "SLURM_JOB_NAME": task["name"],
            "SLURM_JOB_PARTITION": task["partition"],
            "SLURM_JOB_ACCOUNT": task["account"],
            "SLURM_JOB_QOS": task["qos"],
            "SLURM_JOB_USER": task["user"],
            "SLURM_JOB_UID": os.getuid(),
            "SLURM_JOB_GID": os.getgid(),
            "SLURM_JOB_NUM_NODES": len(task["on"]),
            "SLURM_NNODES": len(task["on"]),
            "SLURM_JOB_NODELIST": nodes,
            "SLURM_NODELIST": nodes,
            "SLURMD_NODENAME": task["on"][0],
            "SLURM_JOB_CPUS_PER_NODE": _each(task["cpus"], len(task["on"])),
            "SLURM_TASKS_PER_NODE": _each(task["ntasks"], len(task["on"])),
            "SLURM_CPUS_ON_NODE": task["cpus"] // len(task["on"]),
            "SLURM_CLUSTER_NAME": "fake",
            "SLURM_SUBMIT_DIR": task["directory"],
            "SLURM_SUBMIT_HOST": socket.gethostname(),
            "SLURM_NODEID": 0,
            "SLURM_PROCID": 0,
            "SLURM_LOCALID": 0,
            "SLURM_GTIDS": 0,
        }
        if {"ntasks", "ntasks-per-node"} & set(options):
            found |= {"SLURM_NTASKS": task["ntasks"], "SLURM_NPROCS": task["ntasks"]}
        for option in ("cpus-per-task", "gpus-per-node", "gpus", "gpus-per-task", "ntasks-per-node", "mem-per-cpu"):
            if option in options:
                found["SLURM_" + option.upper().replace("-", "_")] = options[option]
        if "mem" in options:
            found["SLURM_MEM_PER_NODE"] = options["mem"]
        if gpus:
            found |= {"CUDA_VISIBLE_DEVICES": gpus, "SLURM_JOB_GPUS": gpus, "SLURM_GPUS_ON_NODE": len(task["devices"])}
        if task["index"] is not None:
            found |= {
                "SLURM_ARRAY_JOB_ID": task["array"],
                "SLURM_ARRAY_TASK_ID": task["index"],
                "SLURM_ARRAY_TASK_COUNT": task["siblings"]["count"],
                "SLURM_ARRAY_TASK_MIN": task["siblings"]["first"],
                "SLURM_ARRAY_TASK_MAX": task["siblings"]["last"],
                "SLURM_ARRAY_TASK_STEP": 1,
            }
        if task["restarts"]:
            found["SLURM_RESTART_COUNT"] = task["restarts"]
        return {name: str(value) for name, value in found.items()}

    # --- ending -----------------------------------------------------------------------------------

    def send(self, task: Task, *numbers: int, batch: bool = False, steps: bool = False) -> None:
        """Signals to the batch script with its children, to the tasks of its steps, or both."""
        groups = [pid for step in store.steps(task) if step["end"] is None for pid in step["pids"]] if steps else []
        for group in groups + ([task["pid"]] if batch and task["pid"] else []):
            for number in numbers:
                try:
                    os.killpg(group, number)
                except ProcessLookupError:
                    break

    def end(self, task: Task, state: str, *, again: bool = False, why: str = "") -> None:
        """Begin to end a running task: SIGTERM, a while later SIGKILL. A dead node and a lack of memory do not wait."""
        if task["state"] != "RUNNING" and state != "NODE_FAIL":  # it ends already
            return
        task |= {"state": "COMPLETING", "final": state, "again": again, "end": time.time()}
        store.save(task)
        if state in ("NODE_FAIL", "OUT_OF_MEMORY"):
            store.kill_all(self.mark(task))
        else:
            self.note(task, why)
            self.after(ANSWER, task, self.terminate)
        self.after(0, task, self.settle)

    def note(self, task: Task, why: str, *, job: bool = True) -> None:
        """What slurmstepd writes into the job's and its steps' error files."""
        when, node = forms.stamp(time.time()), task["on"][0]
        targets = [(self.error(task), f"JOB {task['job']}")] if job else []
        for step in store.steps(task):
            if step["end"] is None and step["errors"]:
                targets.append((Path(step["errors"]), f"STEP {task['job']}.{step['number']}"))
        for path, name in targets:
            with path.open("a") as file:
                file.write(f"slurmstepd-{node}: error: *** {name} ON {node} CANCELLED AT {when}{why} ***\n")

    def terminate(self, task: Task) -> None:
        self.send(task, signal.SIGCONT, batch=True, steps=True)
        self.after(GAP, task, lambda task: self.send(task, signal.SIGTERM, batch=True, steps=True))
        self.after(float(setting("kill_wait")), task, lambda task: store.kill_all(self.mark(task)))

    def reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if key := self.batch.pop(pid, None):
                self.batch_ended(self.tasks[key], status)

    def batch_ended(self, task: Task, status: int) -> None:
        """When the script ends, the job does: steps that still run are ended, other processes killed."""
        task |= {"pid": None, "status": status}
        if task["state"] == "RUNNING":
            task |= {"state": "COMPLETING", "end": time.time(), "again": False}
            task["final"] = "FAILED" if status else "COMPLETED"
            if status:
                task["reason"] = "JobLaunchFailure" if os.WIFSIGNALED(status) else "NonZeroExitCode"
            if self.steps_live(task):
                self.terminate(task)
        store.save(task)
        self.settle(task)

    def steps_live(self, task: Task) -> bool:
        return any(_exists(pid) for step in store.steps(task) if step["end"] is None for pid in step["pids"])

    def settle(self, task: Task) -> None:
        """Close the run when all its processes are gone."""
        if task["state"] != "COMPLETING":
            return
        if task["pid"] or self.steps_live(task):
            self.after(LOOK, task, self.settle)
            return
        store.kill_all(self.mark(task))
        ended = task["final"] in ("COMPLETED", "FAILED")
        status = task["status"] if ended else 125 if task["final"] == "OUT_OF_MEMORY" else 0
        self.close(task, task["final"], status=status, again=task["again"])

    def close(self, task: Task, state: str, *, status: int | None = None, again: bool = False) -> None:
        """The run is over; with `again` the task waits for its next one."""
        run = {
            name: task[name]
            for name in ("job", "restarts", "submit", "start", "on", "devices", "reason", "status", "skipped")
        }
        task |= {"state": state, "end": task["end"] or time.time(), "batch_status": task["status"], "status": status}
        task["pid"] = None
        if again:
            ended = run | {"state": state, "end": task["end"], "status": status, "batch_status": task["batch_status"]}
            task["history"].append(ended)
            now = time.time()
            task |= {"state": "PENDING", "reason": "BeginTime", "restarts": task["restarts"] + 1, "submit": now}
            task |= {"eligible": now + float(setting("requeue_delay")), "start": None, "end": None, "status": None}
            task |= {"on": [], "devices": [], "again": False, "preempted": None, "skipped": 0.0}
        store.save(task)


def _exists(group: int) -> bool:
    """Whether a process group has a member."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _each(total: int, nodes: int) -> str:
    """SLURM_TASKS_PER_NODE: 2 or 2(x3)"""
    return str(total // nodes) + (f"(x{nodes})" if nodes > 1 else "")
