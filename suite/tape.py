"""A network's output with one weight after another changed, without computing anew what the change does not touch.

A forward pass is recorded as the list of torch's operations. For each weight, the list is carried out up to the first operation
that sees it, and from there on once for each of its changes, leaving out what does not depend on it. These are the operations of
a whole forward pass on the same numbers, so that the results are the same to the bit. Kept are only those intermediate results
that are still needed, as in a forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

T = TypeVar("T")
Forward = Callable[[Tensor], Tensor]
Change = Callable[[], Tensor]  # gives what a weight is replaced by
Changes = Sequence[tuple[Tensor, Sequence[Change]]]  # weights of the network, and the changes of each


def changed_outputs(
    model: nn.Module, forward: Forward, images: Tensor, changes: Changes
) -> Iterator[tuple[int, int, Tensor]]:
    """The output for these images with each change alone, and its place: of the weight in `changes`, of the change in its list.

    Args:
        forward: the model, in evaluation mode, or what is computed by it. Called once, or, if it does something that cannot be
            repeated operation by operation, once for each change.
    """
    try:
        tape = _Recorder.record(model, forward, images)
    except _NotRepeatableError:
        outputs = one_by_one(lambda: forward(images), changes)
        yield from ((i, j, output) for i, each in enumerate(outputs) for j, output in enumerate(each))
        return
    yield from tape.play(images, changes)


def one_by_one(compute: Callable[[], T], changes: Changes) -> list[list[T]]:
    """What is computed with each change alone, the plain way."""
    return [[_with(weight, change, compute) for change in each] for weight, each in changes]


class _NotRepeatableError(Exception):
    """A forward pass that is more than a list of operations."""


@dataclass(frozen=True)
class _Slot:
    """Stands in a recorded call for a tensor: that of the images, or one that an earlier call made."""

    number: int


@dataclass(frozen=True)
class _Call:
    """An operation. Tensors that are views of one another share their memory, which has a name."""

    operation: Callable[..., Any]
    args: Sequence[Any]  # with slots in place of tensors
    kwargs: Mapping[str, Any]
    made: Sequence[int]  # slots of its results
    read: frozenset[Hashable]  # memory
    new: frozenset[Hashable]
    rewritten: frozenset[Hashable]  # memory that was there before, changed in place

    def __call__(self, values: dict[int, Tensor]) -> None:
        args, kwargs = _filled(self.args, values), {k: _filled(v, values) for k, v in self.kwargs.items()}
        values.update(zip(self.made, _tensors(self.operation(*args, **kwargs)), strict=True))


@dataclass(frozen=True)
class _Tape:
    calls: list[_Call]
    memory: list[Hashable]  # of each slot
    result: int

    def play(self, images: Tensor, changes: Changes) -> Iterator[tuple[int, int, Tensor]]:
        dying, end, done = self._dying(), len(self.calls), 0
        values = {0: images}
        dependent = [sorted(self._dependent(weight)) for weight, _ in changes]
        for i in sorted(range(len(changes)), key=lambda i: dependent[i][:1] or [end]):
            weight, each = changes[i]
            start = dependent[i][0] if dependent[i] else end
            for n in range(done, start):
                self.calls[n](values)
                _drop(values, dying[n])
            done = start
            again = [self.calls[n] for n in dependent[i]]
            once = self._own(values, self.calls[start:])
            for n in sorted(set(range(start, end)) - set(dependent[i])):
                self.calls[n](once)
            for j, change in enumerate(each):
                own = self._own(once, again)
                yield i, j, _with(weight, change, partial(self._repeat, dependent[i], own, dying))

    def _repeat(self, numbers: Sequence[int], values: dict[int, Tensor], dying: Sequence[Sequence[int]]) -> Tensor:
        for n in numbers:
            self.calls[n](values)
            _drop(values, dying[n])
        return values[self.result]

    def _dependent(self, weight: Tensor) -> set[int]:
        """Numbers of the calls that have to be repeated when the weight changes."""
        tainted, seen, found = {_outside(weight)}, set[Hashable](), set[int]()
        for n, call in enumerate(self.calls):
            # What a repeated call has read must not be rewritten, once for all, before it is read again.
            if call.read & tainted or call.rewritten & seen:
                found.add(n)
                tainted |= call.new | call.rewritten
                seen |= call.read | call.new
        return found

    def _dying(self) -> list[list[int]]:
        """By call: the slots that no later one reads."""
        last = {}
        for n, call in enumerate(self.calls):
            last.update(dict.fromkeys((*call.made, *(slot.number for slot in _slots((call.args, call.kwargs)))), n))
        last.pop(self.result, None)
        dying: list[list[int]] = [[] for _ in self.calls]
        for slot, n in last.items():
            dying[n].append(slot)
        return dying

    def _own(self, values: dict[int, Tensor], calls: Sequence[_Call]) -> dict[int, Tensor]:
        """The same values, with a copy of all memory that these calls rewrite. Views stay views of it."""
        rewritten = frozenset[Hashable]().union(*(call.rewritten for call in calls))
        copies: dict[Hashable, torch.UntypedStorage] = {}
        own = dict(values)
        for slot, value in values.items():
            name = self.memory[slot]
            if name in rewritten:
                if name not in copies:
                    copies[name] = value.untyped_storage().clone()  # type: ignore[no-untyped-call]
                place = (value.storage_offset(), value.size(), value.stride())
                own[slot] = torch.empty(0, dtype=value.dtype, device=value.device).set_(copies[name], *place)
        return own


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes down what torch does."""

    def __init__(self, model: nn.Module, images: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._known = {_outside(tensor) for tensor in (*model.parameters(), *model.buffers())}
        self._calls: list[_Call] = []
        self._memory: list[Hashable] = []
        self._images = images
        self._new_slot("images")

    @staticmethod
    def record(model: nn.Module, forward: Forward, images: Tensor) -> _Tape:
        """Raises _NotRepeatableError."""
        with _Recorder(model, images) as recorder:
            output = forward(images)
        slot = recorder._slot(output)
        if slot is None:
            raise _NotRepeatableError("the output does not depend on the images")
        return _Tape(recorder._calls, recorder._memory, slot)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        inputs = {_outside(tensor): self._name(tensor) for tensor in _tensors((args, kwargs))}
        rewritten = frozenset(self._name(tensor) for tensor in _rewritten(func, args, kwargs))
        taken, kept = self._recorded(args), {key: self._recorded(value) for key, value in kwargs.items()}
        results = func(*args, **kwargs)
        made, new = [], set[Hashable]()
        for tensor in _tensors(results):
            number = len(self._memory)
            name = inputs.get(_outside(tensor))
            if name is None:
                new.add(name := number)
            made.append(self._new_slot(name))
            tensor.tape_slot = (self, number)  # type: ignore[attr-defined]
        drawn = (
            torch.Tag.nondeterministic_seeded in func.tags and new
        )  # dropout that lets everything pass makes nothing new
        if not made or drawn or rewritten & self._known:
            raise _NotRepeatableError(f"{func} gives a number, draws one, or changes the network")
        self._calls.append(_Call(func, taken, kept, made, frozenset(inputs.values()), frozenset(new), rewritten))
        return results

    def _new_slot(self, memory: Hashable) -> int:
        self._memory.append(memory)
        return len(self._memory) - 1

    def _slot(self, tensor: Tensor) -> int | None:
        if tensor is self._images:
            return 0
        recorder, slot = getattr(tensor, "tape_slot", (None, None))
        return slot if recorder is self else None

    def _name(self, tensor: Tensor) -> Hashable:
        """Of a tensor's memory."""
        slot = self._slot(tensor)
        if slot is not None:
            return self._memory[slot]
        if _outside(tensor) not in self._known:
            raise _NotRepeatableError("a tensor comes neither from the network nor from an operation")
        return _outside(tensor)

    def _recorded(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            slot = self._slot(value)
            return value if slot is None else _Slot(slot)
        return [self._recorded(v) for v in value] if isinstance(value, (list, tuple)) else value


def _outside(tensor: Tensor) -> Hashable:
    """Names the memory of a tensor that lives on."""
    return (tensor.device, tensor.untyped_storage().data_ptr())


def _rewritten(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[Tensor]:
    """The tensors that an operation changes in place."""
    for n, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            yield from _tensors(args[n] if n < len(args) else kwargs.get(argument.name))


def _tensors(value: Any) -> list[Tensor]:
    """All tensors in nested tuples, lists and dictionaries."""
    return [leaf for leaf in _leaves(value) if isinstance(leaf, Tensor)]


def _slots(value: Any) -> list[_Slot]:
    return [leaf for leaf in _leaves(value) if isinstance(leaf, _Slot)]


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, (list, tuple, dict)):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _leaves(each)
    else:
        yield value


def _filled(value: Any, values: dict[int, Tensor]) -> Any:
    if isinstance(value, _Slot):
        return values[value.number]
    return [_filled(v, values) for v in value] if isinstance(value, (list, tuple)) else value


def _drop(values: dict[int, Tensor], slots: Sequence[int]) -> None:
    for slot in slots:
        values.pop(slot, None)


def _with(weight: Tensor, change: Change, compute: Callable[[], T]) -> T:
    before = weight.detach().clone()
    weight.data.copy_(change())
    try:
        return compute()
    finally:
        weight.data.copy_(before)
