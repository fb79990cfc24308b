"""Files of tensors, whoever made them, to packed files and back, to the bit; one tensor in memory at a time."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from shlex import quote
from tempfile import TemporaryFile
from typing import BinaryIO

import torch
from safetensors import SafetensorError
from torch import Tensor

from suite.errors import UserError
from suite.files import write_atomic
from suite.pack.container import Entry, Packed, unpacked
from suite.pack.contents import Line, contents
from suite.pack.errors import PackError
from suite.pack.memory import enough_memory
from suite.pack.raw import view_of
from suite.pack.shape import numel
from suite.pack.streamed import Facts, each_tensor, is_safetensors, metadata_of, write_each
from suite.pack.streams import AUTO, check_coder
from suite.pack.writer import Writer
from suite.printable import printable

STATE_DICT = {".pt", ".pth", ".bin"}  # endings of files that torch.save wrote
LIMIT = 4 * 2**30  # bytes of tensors that a file may stand for unless more is asked for
SYMBOL = 4  # bytes that each number counts for at least: a symbol takes as many while it is decoded
SLOW = 64  # bytes that a symbol counts for beyond that, which takes 10 to 200 microseconds: 2^26 of them take minutes to hours

Named = Iterable[tuple[str, Callable[[], Tensor]]]  # names of tensors, and what gives them


@dataclass(frozen=True)
class Summary:
    """How much a file holds."""

    tensors: int
    numbers: int


@dataclass(frozen=True)
class Inspected:
    """What a packed file holds and how."""

    lines: tuple[Line, ...]  # one for each tensor
    metadata: Mapping[str, str]  # what its maker says of it
    size: int  # bytes of the file
    books_size: int  # bytes of the codebooks in it

    @property
    def rest(self) -> int:
        """Bytes of names, shapes, checksums and metadata."""
        return self.size - self.books_size - sum(line.size for line in self.lines)


def pack(
    source: Path | Mapping[str, Tensor],
    target: Path,
    coder: str = AUTO,
    metadata: Mapping[str, str] | None = None,
) -> Packed:
    """Pack tensors of any shapes, to the bit: a file of them, or a state_dict.

    Tensors with few distinct values become codebook and codes, others stay as they are.

    Args:
        source: safetensors, of which one tensor is in memory at a time; or a state_dict that `torch.save` wrote, which is read
            whole, without running code from it; or a state_dict.
        coder: codes all streams that it can. "smallest" is for each stream the one that makes it the shortest, which takes up
            to minutes and a GB for a million symbols; "auto" the same of those that are worth their time on so many symbols.
        metadata: what the file shall say of itself, such as its network and method, beside what a safetensors file says.

    Returns:
        What was written.

    Raises:
        UserError: if there is no such coder, or if the source is no such file or holds what cannot be packed.
    """
    check_coder(coder)
    tensors, name = _named(source)
    said = {**_said_by(source), **(metadata or {})}
    written: list[Packed] = []

    def write(temporary: Path) -> None:
        with TemporaryFile(dir=target.parent) as scratch, temporary.open("wb") as file:
            _write(tensors, file, scratch, coder, said)
        written.append(unpacked(temporary.read_bytes()))  # before it takes its place

    try:
        write_atomic(target, write)
    except (PackError, UnicodeEncodeError) as error:
        raise UserError(f"{name} cannot be packed: {error}") from None
    return written[0]


def pack_tensors(state: Mapping[str, Tensor], coder: str = AUTO, metadata: Mapping[str, str] | None = None) -> bytes:
    """The packed file of these tensors."""
    file = io.BytesIO()
    _write(_loaded(state), file, io.BytesIO(), coder, metadata or {})
    return file.getvalue()


def _write(tensors: Named, file: BinaryIO, scratch: BinaryIO, coder: str, metadata: Mapping[str, str]) -> None:
    writer = Writer(scratch, coder)
    for name, load in tensors:
        writer.add(name, load)
    writer.finish(file, metadata)


def unpack(source: Path, target: Path, limit: float = LIMIT) -> Summary:
    """Write the tensors of a packed file as safetensors, one in memory at a time; its metadata become theirs.

    Raises:
        UserError: as `decode`; or if a tensor has a name that safetensors cannot hold.
    """
    content = open_packed(source)
    _check_size(source, content, limit)
    entries = {entry.name: entry for entry in content.entries}
    facts = [Facts(name, content.dtype(entry), content.shape(entry)) for name, entry in entries.items()]

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            write_each(file, facts, lambda name: _tensor(source, content, entries[name]), content.metadata)

    try:
        write_atomic(target, write)
    except UserError:  # it has words of its own
        raise
    except ValueError as error:
        raise PackError(f"{source} cannot be decoded: {error}") from None
    return Summary(len(facts), sum(one.size // one.dtype.itemsize for one in facts))


def decode(path: Path, limit: float = LIMIT) -> dict[str, Tensor]:
    """All tensors of a packed file, which may be a stranger's; every checksum is compared.

    Args:
        limit: bytes that the tensors may take together; nothing is decoded if they would take more. Each number counts four
            at least, and each symbol of a slow coder (mixing, lzw) 64 more.

    Raises:
        PackError: if the file is damaged or of another kind.
        UserError: if there is no such file, or if its tensors are beyond the limit, or memory is.
    """
    content = open_packed(path)
    _check_size(path, content, limit)
    return {entry.name: _tensor(path, content, entry) for entry in content.entries}


def verify(path: Path, against: Path | Mapping[str, Tensor] | None = None, limit: float = LIMIT) -> Summary:
    """Decode a packed file, one tensor in memory at a time, comparing all checksums, and the numbers with those of another source.

    Raises:
        UserError: as `decode`; or if `against`, a file of tensors or a state_dict, does not hold the same tensors, to the bit.
    """
    content = open_packed(path)
    _check_size(path, content, limit)
    if against is None:
        counts = [_tensor(path, content, entry).numel() for entry in content.entries]
        return Summary(len(counts), sum(counts))
    left, numbers = {entry.name: entry for entry in content.entries}, 0
    tensors, name = _named(against)
    for tensor_name, load in tensors:
        if (entry := left.pop(tensor_name, None)) is None:
            raise UserError(f"{path} is not {name}: {printable(tensor_name)} is in one of them only")
        if found := _unlike(path, content, entry, load):
            raise UserError(f"{path} is not {name}: {found}")
        numbers += numel(content.shape(entry))
    for tensor_name in left:
        raise UserError(f"{path} is not {name}: {printable(tensor_name)} is in one of them only")
    return Summary(len(content.entries), numbers)


def _named(source: Path | Mapping[str, Tensor]) -> tuple[Named, str]:
    """Tensors, and what to call where they are from."""
    return (_each(source), str(source)) if isinstance(source, Path) else (_loaded(source), "the state_dict")


def _loaded(state: Mapping[str, Tensor]) -> Named:
    return ((name, partial(state.__getitem__, name)) for name in state)


def inspect(path: Path) -> Inspected:
    """What a packed file holds, tensor by tensor, and how; all checksums are compared, nothing is decoded. Raises as `decode`."""
    content = open_packed(path)
    try:
        lines = tuple(contents(content))
    except PackError as error:
        raise PackError(f"{path} cannot be read: {error}") from None
    return Inspected(lines, content.metadata, content.size, content.books_size)


def _tensor(path: Path, content: Packed, entry: Entry) -> Tensor:
    try:
        with enough_memory(f"{printable(entry.name)} of {path}"):
            return content.tensor(entry)
    except PackError as error:
        raise PackError(f"{path} cannot be decoded: {error}") from None


def _check_size(path: Path, content: Packed, limit: float) -> None:
    try:
        size = sum(_counted(content, entry) for entry in content.entries)
    except PackError as error:
        raise PackError(f"{path} cannot be decoded: {error}") from None
    if size > limit:
        found, allowed = f"{size / 2**30:.1f} GiB", f"{limit / 2**30:g} GiB"
        rule = f"a number counts {SYMBOL} bytes at least, and {SLOW} more where a slow coder was used"
        raise UserError(
            f"{path} holds {found} of tensors ({rule}), the limit is {allowed}; raise --limit if you trust it"
        )


def _counted(content: Packed, entry: Entry) -> int:
    """Bytes that a tensor counts for, in memory and time. Raises `PackError`."""
    slow = sum(stream.count for plane in content.planes(entry) for stream in plane.streams if stream.is_slow)
    return max(content.bytes_of(entry), SYMBOL * numel(content.shape(entry))) + SLOW * slow


def open_packed(path: Path) -> Packed:
    """A packed file's content, all checksums compared, nothing decoded. Raises as `decode`."""
    data = _existing(path).read_bytes()
    if is_safetensors(data):  # and not damaged: a trial's model.slq, too, if nothing in it is quantized
        raise PackError(
            f"{path} is not packed but plain safetensors; pack it first: slq pack {quote(str(path))} NAME.slq"
        )
    try:
        return unpacked(data)
    except PackError as error:
        raise PackError(f"{path} cannot be read: {error}") from None


def _each(path: Path) -> Named:
    """The tensors of a safetensors file, or of a saved state_dict. Raises `UserError`."""
    if _existing(path).suffix in STATE_DICT:
        yield from _loaded(_state_dict(path))
        return
    with _as_safetensors(path):
        yield from each_tensor(path)


def _said_by(source: Path | Mapping[str, Tensor]) -> Mapping[str, str]:
    """The metadata of a safetensors file; nothing else has any."""
    if not isinstance(source, Path) or _existing(source).suffix in STATE_DICT:
        return {}
    with _as_safetensors(source):
        return metadata_of(source)


@contextmanager
def _as_safetensors(path: Path) -> Iterator[None]:
    try:
        yield
    except SafetensorError as error:
        endings = ", ".join(f"*{ending}" for ending in sorted(STATE_DICT))
        raise UserError(f"{path} is not safetensors ({error}), and not named as torch saves: {endings}") from None


def _state_dict(path: Path) -> dict[str, Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can end in any
        reason = (str(error).splitlines() or [""])[0]
        raise UserError(f"{path} is no state_dict that torch saved: {type(error).__name__}: {reason}") from None
    if not isinstance(state, dict) or not all(isinstance(k, str) and _is_plain(t) for k, t in state.items()):
        first = ", ".join(printable(str(key)) for key in list(state)[:5]) if isinstance(state, dict) else ""
        keys = f"; it has {first}" if isinstance(state, dict) else ""
        raise UserError(
            f"{path} has not a dense tensor under each name, as a state_dict has{keys}; save model.state_dict()"
        )
    return dict(state)


def _is_plain(value: object) -> bool:
    return isinstance(value, Tensor) and value.layout == torch.strided and value.device.type == "cpu"


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise UserError(f"no file {path}")
    return path


def _unlike(path: Path, content: Packed, entry: Entry, load: Callable[[], Tensor]) -> str:
    """How a tensor differs from the one that `load` gives, in words; "" if they are the same to the bit."""
    dtype, shape, name = content.dtype(entry), content.shape(entry), printable(entry.name)
    theirs = load()
    if (theirs.dtype, tuple(theirs.shape)) != (dtype, shape):
        return f"{name} is {dtype} {list(shape)}, not {theirs.dtype} {list(theirs.shape)}"
    digest = _digest(theirs)
    del theirs  # before ours takes as much memory
    return "" if _digest(_tensor(path, content, entry)) == digest else f"the numbers of {name} differ"


def _digest(tensor: Tensor) -> bytes:
    return sha256(view_of(tensor)).digest()
