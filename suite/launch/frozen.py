"""The code, frozen at submission: queued jobs run what was submitted, whatever is edited meanwhile.

    <root>/<sweep>/code/<tree>/suite/...    put first on PYTHONPATH by jobs
                              /code.json    commit, whether the code differs from it, hash of the content
                              /code.diff    the difference, if there is one

A checkout's own git state is only read: index and objects of the frozen tree are temporary.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
import shlex
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import suite
from suite.errors import UserError
from suite.files import fsync, write_json
from suite.provenance import CODE, DIFF, content_hash, frozen_facts, frozen_version
from suite.unpack import Refused, unpack

SCHEMA = 1
PACKAGE = Path(suite.__file__).resolve().parent
FILES = ("suite", "pyproject.toml")
ABANDONED = 3600.0  # seconds after which a half-written copy has no writer any more
TRIES = 10  # to write a copy that others are writing, too
NAMED = 5  # changed files in a message
ALLOW = "--allow-dirty (the tables then say that trials ran from uncommitted code)"
_ALTERNATES = "GIT_ALTERNATE_OBJECT_DIRECTORIES"
_ELSEWHERE = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_PREFIX")


@dataclass(frozen=True)
class Frozen:
    """A frozen copy of the code: `path` is what goes on PYTHONPATH, `tree` the id of its content."""

    path: Path
    commit: str | None
    dirty: bool
    tree: str


def freeze(sweep_path: Path, *, allow_dirty: bool, package: Path = PACKAGE) -> Frozen:
    """Copy the package as it is now below `sweep_path`; an equal copy that is there already is used again.

    Of a checkout everything below suite/ that git does not ignore is taken, committed or not.

    Raises:
        UserError: if the code differs from its commit, or nobody can tell, and `allow_dirty` is not given.
    """
    with _source(package) as source:
        if source.problem and not allow_dirty:
            raise UserError(source.problem)
        return _keep(source, sweep_path / "code")


def shell_lines(code: Path) -> list[str]:
    """What a job's script does so that Python imports the frozen copy `code`.

    Without PYTHONSAFEPATH `python -m ...` looks in the working folder first, which usually is the checkout.
    """
    return [f"export PYTHONPATH={shlex.quote(str(code))}${{PYTHONPATH:+:$PYTHONPATH}}", "export PYTHONSAFEPATH=1"]


def check_running(code: Path) -> None:
    """Raise RuntimeError unless this process runs the frozen copy `code`: a result of other code must not pass for its."""
    if code.resolve() != PACKAGE.parent:
        raise RuntimeError(f"this job was to run the code frozen in {code}, but Python imported {PACKAGE}")


@dataclass(frozen=True)
class _Source:
    """Code to freeze; `write(folder)` puts it there."""

    commit: str | None
    tree: str
    write: Callable[[Path], object]
    difference: bytes = field(default=b"", repr=False)
    problem: str = ""  # why it counts as dirty


@contextmanager
def _source(package: Path) -> Iterator[_Source]:
    root = package.parent
    if frozen_facts(root) is not None:
        yield _frozen_again(package)
    elif not _is_checkout(root):
        yield _copied(package)
    else:
        with tempfile.TemporaryDirectory(prefix="slq-") as scratch:
            try:
                source = _committed(root, Path(scratch))
            except (OSError, subprocess.CalledProcessError) as error:
                source = replace(_copied(package), problem=_unknown(root, error))
            yield source or _copied(package)


def _is_checkout(root: Path) -> bool:
    """Whether this looks like sources below a git repository; an installed package has no pyproject.toml beside it."""
    return (root / "pyproject.toml").exists() and any((folder / ".git").exists() for folder in (root, *root.parents))


def _unknown(root: Path, error: OSError | subprocess.CalledProcessError) -> str:
    said = error.stderr.decode(errors="replace").strip() if isinstance(error, subprocess.CalledProcessError) else ""
    return f"cannot tell whether the code in {root} is committed: {said or error}; mend that, or {ALLOW}"


def _copied(package: Path) -> _Source:
    """A package without git: its content is its identity."""

    def write(folder: Path) -> None:
        shutil.copytree(package, folder / package.name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))

    return _Source(None, content_hash(package)[:40], write)


def _frozen_again(package: Path) -> _Source:
    """A job may submit, too; its code is frozen already, and still from the same commit."""
    facts, version = frozen_facts(package.parent), frozen_version(package.parent)
    assert facts is not None
    assert version is not None
    commit, dirty, difference = version
    edited = content_hash(package.parent) != facts["content"]
    problem = f"{package} is a frozen copy of uncommitted code, or was edited; {ALLOW}" if dirty else ""
    tree = content_hash(package.parent)[:40] if edited else str(facts["tree"])

    def write(folder: Path) -> None:
        shutil.copytree(
            package.parent, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", CODE, DIFF)
        )

    return _Source(commit, tree, write, difference, problem)


class _Git:
    """Git in the repository around `root`. Its index and every object that it writes are in the folder `scratch`."""

    def __init__(self, root: Path, scratch: Path) -> None:
        self._environment = {k: v for k, v in os.environ.items() if k not in _ELSEWHERE} | {"LC_ALL": "C"}
        self._at = root
        self.prefix = self.read("rev-parse", "--show-prefix")
        objects = (root / self.read("rev-parse", "--git-path", "objects")).resolve()
        self._at = Path(self.read("rev-parse", "--show-toplevel"))
        (scratch / "objects").mkdir()
        alternates = [json.dumps(str(objects), ensure_ascii=False), self._environment.get(_ALTERNATES, "")]
        self._environment |= {
            "GIT_OBJECT_DIRECTORY": str(scratch / "objects"),
            _ALTERNATES: os.pathsep.join(filter(None, alternates)),
        }
        self._own_index = {"GIT_INDEX_FILE": str(scratch / "index")}

    def read(self, *arguments: str) -> str:
        return self.run(*arguments).decode(errors="surrogateescape").removesuffix("\n")

    def run(self, *arguments: str, given: bytes | None = None, own_index: bool = False) -> bytes:
        command = ["git", "--literal-pathspecs", "-c", "core.fsmonitor=false", *arguments]
        environment = self._environment | (self._own_index if own_index else {})
        done = subprocess.run(command, cwd=self._at, env=environment, input=given, capture_output=True, check=True)
        return done.stdout


def _committed(root: Path, scratch: Path) -> _Source | None:
    """The tree of a checkout's files as they are, and how it differs from HEAD; None if the repository is not theirs.

    It may be another one: that of somebody who unpacked the sources, say.
    """
    git = _Git(root, scratch)
    if not git.run("ls-files", "--", f"{git.prefix}suite/__init__.py"):
        return None
    commit = git.read("rev-parse", "--verify", "HEAD^{commit}")
    tree = _write_tree(git)
    between = (f"{commit}:{git.prefix}", tree, "--", "suite")
    difference = git.run("diff-tree", "-r", "-p", "--binary", "--no-ext-diff", "--no-textconv", *between)
    changed = git.read("diff-tree", "-r", "--name-only", "-z", *between).split("\0")[:-1]

    def write(folder: Path) -> None:
        with tarfile.open(fileobj=io.BytesIO(git.run("archive", "--format=tar", tree))) as archive:
            unpack(archive, folder)

    return _Source(commit, tree, write, difference, _changed(commit, changed) if changed else "")


def _write_tree(git: _Git) -> str:
    """Id of the tree of all files that are tracked or could be, with the content they have on disk."""
    places = [f"{git.prefix}{name}" for name in FILES]
    names = git.run("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *places)
    git.run("update-index", "--add", "--remove", "-z", "--stdin", given=names, own_index=True)
    prefix = [f"--prefix={git.prefix}"] if git.prefix else []
    return git.run("write-tree", *prefix, own_index=True).decode().strip()


def _changed(commit: str, names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"the code differs from commit {commit[:10]}: {', '.join(names[:NAMED])}{more}; commit, or {ALLOW}"


def _keep(source: _Source, code: Path) -> Frozen:
    """Put the source at `code/<tree>`, unless it is there, whole."""
    place = code / source.tree
    code.mkdir(parents=True, exist_ok=True)
    _sweep_out(code)
    for _ in range(TRIES):
        if (kept := _kept(source, place)) is not None:
            return kept
        _put(source, place)
    raise UserError(f"{place} does not stay as it is written; look for what changes it, or remove it, and submit again")


def _kept(source: _Source, place: Path) -> Frozen | None:
    """The copy at `place`, None if there is none or it is damaged. Another submission may be replacing it right now."""
    try:
        if not _is_whole(place):
            return None
        if not source.problem:
            _write_facts(source, place)
    except FileNotFoundError:
        return None
    facts = frozen_facts(place)
    return Frozen(place, facts["commit"], facts["dirty"], facts["tree"]) if facts is not None else None


def _put(source: _Source, place: Path) -> None:
    """Write a copy beside `place`, then make it appear there at once; a damaged copy makes way."""
    unfinished = _beside(place)
    unfinished.mkdir()
    try:
        source.write(unfinished)
        _write_facts(source, unfinished)
        _flush(unfinished)
        _rename(unfinished, place)
    except Refused as error:
        raise UserError(f"the code cannot be frozen: {error}; put the file itself in its place") from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _rename(unfinished: Path, place: Path) -> None:
    """Make the copy appear at `place`, unless a whole one is there by now; a damaged one makes way."""
    away = _beside(place)
    try:
        with suppress(FileNotFoundError):
            if not _is_whole(place):
                place.rename(away)
        unfinished.rename(place)
        fsync(place.parent)
    except OSError:
        if not place.is_dir():  # else somebody else was faster
            raise
    finally:
        shutil.rmtree(away, ignore_errors=True)


def _beside(place: Path) -> Path:
    return place.with_name(f".{place.name}.{secrets.token_hex(4)}")


def _sweep_out(code: Path) -> None:
    """Remove what killed submissions left half-written."""
    for folder in code.glob(".*"):
        try:
            if time.time() - folder.stat().st_mtime > ABANDONED:
                shutil.rmtree(folder, ignore_errors=True)
        except FileNotFoundError:  # its writer has just finished
            continue


def _write_facts(source: _Source, folder: Path) -> None:
    """`code.json` and `code.diff`. Where equal code was frozen before it was committed, its commit is known from now on."""
    before = frozen_facts(folder)
    if before is not None and not before["dirty"]:
        return
    if source.difference:
        (folder / DIFF).write_bytes(source.difference)
    write_json(
        folder / CODE,
        {
            "schema": SCHEMA,
            "commit": source.commit,
            "dirty": bool(source.problem),
            "tree": source.tree,
            "diff_sha256": hashlib.sha256(source.difference).hexdigest() if source.difference else None,
            "content": content_hash(folder),
        },
    )
    if not source.difference:
        (folder / DIFF).unlink(missing_ok=True)


def _is_whole(place: Path) -> bool:
    facts = frozen_facts(place)
    return facts is not None and facts["content"] == content_hash(place)


def _flush(folder: Path) -> None:
    """To disk: a copy whose name is there after a power cut must have its content, too."""
    for path, _, names in os.walk(folder):
        for name in [*names, "."]:
            if not Path(path, name).is_symlink():
                fsync(Path(path, name))
