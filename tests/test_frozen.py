"""Freezing the code at submission: what is edited, staged, new, ignored; what queued jobs import; what survives accidents."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from suite.errors import UserError
from suite.files import read_json
from suite.launch import frozen
from suite.launch.frozen import Frozen, freeze, shell_lines
from suite.provenance import content_hash, frozen_version

REPOSITORY = Path(__file__).parent.parent
EDITED = "suite/methods/slq.py"
MARK = "\n# edited\n"

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=Nobody", "-c", "user.email=nobody@example.org", "-c", "init.defaultBranch=main")
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, check=True, text=True)
    return done.stdout.strip()


def copy_sources(folder: Path) -> None:
    shutil.copytree(REPOSITORY / "suite", folder / "suite", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", ".gitignore"):
        shutil.copy(REPOSITORY / name, folder / name)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with the suite committed, and things in it that are nobody's code."""
    folder = tmp_path / "checkout"
    copy_sources(folder)
    (folder / "notes.md").write_text("not code")
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "first")
    for ignored in (".venv/bin/python", "results/runs/x", "suite/__pycache__/cli.cpython-311.pyc"):
        (folder / ignored).parent.mkdir(parents=True, exist_ok=True)
        (folder / ignored).write_text("ignored")
    return folder


@pytest.fixture
def sweep(checkout: Path) -> Path:
    """Where a sweep's ledger usually lies: below an ignored folder of the checkout itself."""
    return checkout / "results" / "runs" / "sweep"


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def edit(checkout: Path, name: str = EDITED, text: str = MARK) -> None:
    with (checkout / name).open("a") as file:
        file.write(text)


def frozen_from(checkout: Path, sweep: Path, allow_dirty: bool = False) -> Frozen:
    return freeze(sweep, allow_dirty=allow_dirty, package=checkout / "suite")


def test_clean_checkout(checkout: Path, sweep: Path) -> None:
    made = frozen_from(checkout, sweep)
    committed = {name: (checkout / name).read_bytes() for name in git(checkout, "ls-files").splitlines()}
    code = {k: v for k, v in committed.items() if k.startswith("suite/") or k == "pyproject.toml"}
    found = files(made.path)
    assert {name: content for name, content in found.items() if name != "code.json"} == code
    assert made == Frozen(sweep / "code" / made.tree, git(checkout, "rev-parse", "HEAD"), False, made.tree)
    assert git(checkout, "rev-parse", "HEAD:suite") == git_tree(checkout, made.path / "suite")
    facts = read_json(made.path / "code.json")
    assert (facts["commit"], facts["dirty"], facts["tree"], facts["diff_sha256"]) == (
        made.commit,
        False,
        made.tree,
        None,
    )


def git_tree(checkout: Path, folder: Path) -> str:
    """What git itself says the content of a folder is, from a repository of its own."""
    other = checkout.parent / "other"
    shutil.copytree(folder, other)
    git(other, "init", "--quiet")
    git(other, "add", "--force", ".")
    return git(other, "write-tree")


def test_the_repository_is_only_read(checkout: Path, sweep: Path) -> None:
    edit(checkout)
    (checkout / "suite" / "new.py").write_text("NEW = 1\n")
    before = files(checkout / ".git")
    frozen_from(checkout, sweep, allow_dirty=True)
    assert files(checkout / ".git") == before


def test_dirty_is_refused_with_the_names(checkout: Path, sweep: Path) -> None:
    edit(checkout)
    (checkout / "suite" / "new.py").write_text("NEW = 1\n")
    with pytest.raises(UserError, match=r"suite/methods/slq\.py, suite/new\.py; commit, or --allow-dirty"):
        frozen_from(checkout, sweep)
    assert not sweep.exists()


def test_many_changed_files_are_counted(checkout: Path, sweep: Path) -> None:
    for number in range(8):
        (checkout / "suite" / f"new{number}.py").write_text("")
    with pytest.raises(UserError, match=r"suite/new0\.py.*suite/new4\.py and 3 more; commit"):
        frozen_from(checkout, sweep)


def test_dirty_is_frozen_as_it_is(checkout: Path, sweep: Path) -> None:
    edit(checkout)
    (checkout / "suite" / "new.py").write_text("NEW = 1\n")
    (checkout / "suite" / "table.bin").write_bytes(bytes(range(256)))
    (checkout / "suite" / "memory.py").unlink()
    made = frozen_from(checkout, sweep, allow_dirty=True)
    assert made.dirty
    assert made.commit == git(checkout, "rev-parse", "HEAD")
    assert (made.path / EDITED).read_text().endswith(MARK)
    assert (made.path / "suite" / "new.py").read_text() == "NEW = 1\n"
    assert not (made.path / "suite" / "memory.py").exists()
    difference = (made.path / "code.diff").read_bytes()
    assert read_json(made.path / "code.json")["diff_sha256"] == hashlib.sha256(difference).hexdigest()
    again = checkout.parent / "again"
    git(checkout.parent, "clone", "--quiet", str(checkout), str(again))
    (again / "diff").write_bytes(difference)
    git(again, "apply", "diff")  # commit and difference are enough to have the code again
    assert files(again / "suite") == files(made.path / "suite")


def test_staged_only_changes(checkout: Path, sweep: Path) -> None:
    """What is on disk counts, since that is what Python would import: not what is staged."""
    edit(checkout)
    (checkout / "suite" / "gone.py").write_text("")
    git(checkout, "add", ".")
    git(checkout, "show", f"HEAD:{EDITED}")
    (checkout / EDITED).write_bytes(
        subprocess.run(["git", "show", f"HEAD:{EDITED}"], cwd=checkout, capture_output=True, check=True).stdout
    )
    (checkout / "suite" / "gone.py").unlink()
    assert not frozen_from(checkout, sweep).dirty
    edit(checkout)
    git(checkout, "add", ".")
    with pytest.raises(UserError, match=r"slq\.py"):
        frozen_from(checkout, sweep)


def test_a_forced_file_that_git_ignores(checkout: Path, sweep: Path) -> None:
    (checkout / ".gitignore").write_text("__pycache__/\n/results/\n*.yaml\n")
    (checkout / "suite" / "wanted.yaml").write_text("a: 1\n")
    (checkout / "suite" / "unwanted.yaml").write_text("a: 1\n")
    git(checkout, "add", "--force", "suite/wanted.yaml")
    made = frozen_from(checkout, sweep, allow_dirty=True)
    assert (made.path / "suite" / "wanted.yaml").exists()
    assert not (made.path / "suite" / "unwanted.yaml").exists()


def test_a_file_whose_changes_git_is_told_not_to_see(checkout: Path, sweep: Path) -> None:
    git(checkout, "update-index", "--assume-unchanged", EDITED)
    edit(checkout)
    with pytest.raises(UserError, match=r"slq\.py"):
        frozen_from(checkout, sweep)


def test_a_module_becomes_a_package(checkout: Path, sweep: Path) -> None:
    (checkout / "suite" / "memory.py").unlink()
    (checkout / "suite" / "vision.py").unlink()
    (checkout / "suite" / "vision.py").mkdir()
    (checkout / "suite" / "vision.py" / "inner.py").write_text("")
    made = frozen_from(checkout, sweep, allow_dirty=True)
    assert (made.path / "suite" / "vision.py" / "inner.py").exists()


def test_changes_elsewhere_do_not_matter(checkout: Path, sweep: Path) -> None:
    first = frozen_from(checkout, sweep)
    edit(checkout, "notes.md")
    (checkout / "scratch.py").write_text("")
    assert frozen_from(checkout, sweep) == first


def test_variables_of_a_git_hook_do_not_lead_elsewhere(
    checkout: Path, sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    assert not frozen_from(checkout, sweep).dirty


def test_worktree(checkout: Path, sweep: Path) -> None:
    tree = checkout.parent / "tree"
    git(checkout, "worktree", "add", "--quiet", "-b", "side", str(tree))
    assert (tree / ".git").is_file()
    assert frozen_from(tree, sweep) == frozen_from(checkout, sweep)
    edit(tree)
    with pytest.raises(UserError, match=r"slq\.py"):
        frozen_from(tree, sweep)
    assert not frozen_from(checkout, sweep).dirty


def test_submodule_with_a_difficult_path(checkout: Path, tmp_path: Path) -> None:
    outer = tmp_path / 'a "b": ü'
    outer.mkdir()
    git(outer, "init", "--quiet")
    git(outer, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(checkout), "inner")
    assert (outer / "inner" / ".git").is_file()
    made = frozen_from(outer / "inner", outer / "runs" / "sweep")
    assert (made.commit, made.dirty) == (git(checkout, "rev-parse", "HEAD"), False)
    edit(outer / "inner")
    assert frozen_from(outer / "inner", outer / "runs" / "sweep", allow_dirty=True).dirty


def test_folder_of_a_larger_repository(checkout: Path, tmp_path: Path, sweep: Path) -> None:
    copy_sources(tmp_path / "large" / "tools" / "slq")
    git(tmp_path / "large", "init", "--quiet")
    git(tmp_path / "large", "add", ".")
    git(tmp_path / "large", "commit", "--quiet", "--message", "all")
    inner = tmp_path / "large" / "tools" / "slq"
    made = frozen_from(inner, sweep)
    assert (made.path / "suite" / "vision.py").exists()
    assert made.tree == frozen_from(checkout, sweep).tree
    edit(inner)
    with pytest.raises(UserError, match=r": suite/methods/slq\.py; commit"):
        frozen_from(inner, sweep)


def test_read_only_checkout(checkout: Path, tmp_path: Path) -> None:
    edit(checkout)
    everything = [checkout, *checkout.rglob("*")]
    for path in everything:
        path.chmod(path.stat().st_mode & ~0o222)
    try:
        assert frozen_from(checkout, tmp_path / "sweep", allow_dirty=True).dirty
    finally:
        for path in everything:
            path.chmod(path.stat().st_mode | 0o200)


def test_equal_code_is_kept_once(checkout: Path, sweep: Path) -> None:
    first = frozen_from(checkout, sweep)
    stamps = {path: path.stat().st_mtime_ns for path in first.path.rglob("*")}
    assert frozen_from(checkout, sweep) == first
    assert {path: path.stat().st_mtime_ns for path in first.path.rglob("*")} == stamps
    edit(checkout)
    assert frozen_from(checkout, sweep, allow_dirty=True).path != first.path
    assert len(list((sweep / "code").iterdir())) == 2


def test_code_frozen_before_its_commit_is_clean_after_it(checkout: Path, sweep: Path) -> None:
    edit(checkout)
    early = frozen_from(checkout, sweep, allow_dirty=True)
    git(checkout, "commit", "--quiet", "--all", "--message", "second")
    late = frozen_from(checkout, sweep)
    assert (late.path, late.dirty, late.commit) == (early.path, False, git(checkout, "rev-parse", "HEAD"))
    assert frozen_version(late.path) == (late.commit, False, b"")
    assert not (late.path / "code.diff").exists()


def test_running_frozen_code_does_not_count_as_a_change(checkout: Path, sweep: Path) -> None:
    made = frozen_from(checkout, sweep)
    (made.path / "suite" / "__pycache__").mkdir()
    (made.path / "suite" / "__pycache__" / "cli.cpython-311.pyc").write_text("bytecode")
    (made.path / "suite" / ".nfs0001").write_text("removed while open")
    assert frozen_version(made.path) == (made.commit, False, b"")
    assert frozen_from(checkout, sweep) == made
    assert (made.path / "suite" / "__pycache__").exists()


def test_an_edited_copy_is_dirty(checkout: Path, sweep: Path) -> None:
    made = frozen_from(checkout, sweep)
    edit(made.path)
    found = frozen_version(made.path)
    assert found is not None
    assert found[:2] == (made.commit, True)
    assert b"was edited" in found[2]


@pytest.mark.parametrize("damage", ["truncated", "missing", "extra", "no facts", "empty"])
def test_a_damaged_copy_is_replaced(checkout: Path, sweep: Path, damage: str) -> None:
    made = frozen_from(checkout, sweep)
    whole = files(made.path)
    match damage:
        case "truncated":
            (made.path / EDITED).write_text("")
        case "missing":
            (made.path / EDITED).unlink()
        case "extra":
            (made.path / "suite" / "torch.py").write_text("")
        case "no facts":
            (made.path / "code.json").unlink()
        case _:
            shutil.rmtree(made.path)
            made.path.mkdir()
    assert frozen_from(checkout, sweep) == made
    assert files(made.path) == whole
    assert [path.name for path in (sweep / "code").iterdir()] == [made.tree]


def test_half_written_copies_of_dead_submissions_go_away(checkout: Path, sweep: Path) -> None:
    dead, alive = sweep / "code" / ".aaaa.1", sweep / "code" / ".bbbb.2"
    for folder in (dead, alive):
        (folder / "suite").mkdir(parents=True)
    long_ago = time.time() - frozen.ABANDONED - 60
    os.utime(dead, (long_ago, long_ago))
    frozen_from(checkout, sweep)
    assert not dead.exists()
    assert alive.exists()


def test_many_at_once(checkout: Path, sweep: Path) -> None:
    damaged = frozen_from(checkout, sweep).path
    (damaged / EDITED).unlink()  # the hardest case: all want to replace it
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: frozen_from(checkout, sweep), range(16)))
    assert len(made) == 1
    assert frozen_version(damaged) == (git(checkout, "rev-parse", "HEAD"), False, b"")
    assert [path.name for path in (sweep / "code").iterdir()] == [damaged.name]


def test_installed_package(tmp_path: Path, checkout: Path, sweep: Path) -> None:
    """In an environment that lies in somebody's repository, which says nothing about it."""
    site = checkout / ".venv" / "lib" / "site-packages"
    shutil.copytree(checkout / "suite", site / "suite")
    made = frozen_from(site, sweep)
    assert (made.commit, made.dirty) == (None, False)
    assert files(made.path / "suite").keys() == {k for k in files(site / "suite") if "__pycache__" not in k}
    assert frozen_from(site, sweep) == made
    edit(site)
    assert frozen_from(site, sweep).tree != made.tree


def test_sources_unpacked_in_the_repository_of_another_project(checkout: Path, tmp_path: Path, sweep: Path) -> None:
    git(tmp_path, "init", "--quiet", "another")
    copy_sources(tmp_path / "another" / "slq")
    made = frozen_from(tmp_path / "another" / "slq", sweep)
    assert (made.commit, made.dirty) == (None, False)


def test_a_checkout_on_a_machine_without_git(
    checkout: Path, sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(UserError, match=r"cannot tell whether the code .* is committed: .*git.*--allow-dirty"):
        frozen_from(checkout, sweep)
    made = frozen_from(checkout, sweep, allow_dirty=True)
    assert (made.commit, made.dirty) == (None, True)  # unknown is marked: better once too often
    assert (made.path / EDITED).exists()


def test_what_git_says_is_passed_on(checkout: Path, sweep: Path) -> None:
    (checkout / ".git" / "HEAD").write_text("ref: refs/heads/nowhere\n")
    with pytest.raises(UserError, match=r"is committed: fatal: "):
        frozen_from(checkout, sweep)


def test_a_link_that_leaves_the_code_is_refused(checkout: Path, sweep: Path) -> None:
    (checkout / "suite" / "mine.py").symlink_to("/etc/hostname")
    with pytest.raises(UserError, match=r"cannot be frozen: .*mine\.py"):
        frozen_from(checkout, sweep, allow_dirty=True)
    assert list((sweep / "code").iterdir()) == []


def test_frozen_code_freezes_itself_again(checkout: Path, sweep: Path, tmp_path: Path) -> None:
    """A job that submits says what it is itself, not what the checkout around it became."""
    edit(checkout)
    first = frozen_from(checkout, sweep, allow_dirty=True)
    git(checkout, "commit", "--quiet", "--all", "--message", "second")
    with pytest.raises(UserError, match="frozen copy of uncommitted code"):
        frozen_from(first.path, tmp_path / "other")
    second = frozen_from(first.path, tmp_path / "other", allow_dirty=True)
    assert (second.commit, second.dirty, second.tree) == (first.commit, True, first.tree)
    assert files(second.path) == files(first.path)
    assert content_hash(second.path) == content_hash(first.path)


FREEZE = """
import sys
from pathlib import Path
from suite.launch.frozen import freeze
print(freeze(Path(sys.argv[1]), allow_dirty=False).path)
"""
IMPORTED = """
import inspect, json, sys, suite, suite.methods.slq
from pathlib import Path
from suite.launch.frozen import check_running
from suite.provenance import code_version
commit, dirty, difference = code_version()
check_running(Path(sys.argv[1]))
print(json.dumps([suite.__file__, inspect.getsource(suite.methods.slq), commit, dirty, difference.decode()]))
"""


def run_job(lines: list[str], folder: Path, *command: str | Path) -> str:
    """What a job's script with these lines and this command says; `folder` is where it runs."""
    script = "\n".join(["set -e", *lines, shlex.join(map(str, command))])
    done = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.slow
def test_editing_the_checkout_does_not_change_queued_jobs(checkout: Path, sweep: Path, tmp_path: Path) -> None:
    """Neither where the interpreter has an editable install of a checkout nor where the job starts in one."""
    commit, text = git(checkout, "rev-parse", "HEAD"), (checkout / EDITED).read_text()
    path = Path(run_job(shell_lines(checkout), tmp_path, sys.executable, "-c", FREEZE, sweep))
    edit(checkout)
    (checkout / "suite" / "new.py").write_text("")
    git(checkout, "commit", "--quiet", "--all", "--message", "second")
    edit(checkout)
    (checkout / "report.py").write_text(IMPORTED)
    for lines, folder, how in [
        ([f"export PYTHONPATH={path}"], tmp_path, ["-c", IMPORTED]),
        (shell_lines(path), checkout, ["-c", IMPORTED]),
        (
            [*shell_lines(path), f"cp report.py {tmp_path}", f"PYTHONPATH=$PYTHONPATH:{tmp_path}"],
            checkout,
            ["-m", "report"],
        ),
    ]:
        file, source, *version = json.loads(run_job(lines, folder, sys.executable, *how, path))
        assert (file, source) == (str(path / "suite" / "__init__.py"), text)
        assert version == [commit, False, ""]


def test_running_other_code_is_noticed(tmp_path: Path) -> None:
    frozen.check_running(frozen.PACKAGE.parent)
    with pytest.raises(RuntimeError, match="was to run the code frozen in"):
        frozen.check_running(tmp_path)


def test_python_paths_that_need_quotes(tmp_path: Path) -> None:
    code = tmp_path / "a $b 'c'"
    told = 'import os; print(os.environ["PYTHONPATH"])'
    assert run_job(["unset PYTHONPATH", *shell_lines(code)], tmp_path, sys.executable, "-c", told) == str(code)
    lines = ["export PYTHONPATH=/mine", *shell_lines(code)]
    assert run_job(lines, tmp_path, sys.executable, "-c", told) == f"{code}:/mine"
