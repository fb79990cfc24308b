"""Non-negative integers in as few bytes as they need: seven bits a byte, lowest first (LEB128)."""

from __future__ import annotations

from suite.pack.errors import PackError


def varint(*numbers: int) -> bytes:
    """The numbers, one after the other."""
    out = bytearray()
    for number in numbers:
        while number >= 0x80:
            out.append(number & 0x7F | 0x80)
            number >>= 7
        out.append(number)
    return bytes(out)


class Reader:
    """Reads a piece of a file from its start; everything raises `PackError` where the piece is too short."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._data, self._at = memoryview(data), 0

    @property
    def left(self) -> int:
        """How many bytes have not been read yet."""
        return len(self._data) - self._at

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        return bytes(self.view(count))

    def view(self, count: int) -> memoryview:
        """The same without a copy; they are kept in memory as long as the view is."""
        if count > self.left:
            raise PackError(f"{count} bytes are announced where {self.left} are left")
        self._at += count
        return self._data[self._at - count : self._at]

    def rest(self) -> bytes:
        return self.take(self.left)

    def number(self, below: int = 2**63) -> int:
        """The next variable-length integer, which must be smaller than `below`."""
        value = shift = 0
        while True:
            (byte,) = self.take(1)
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
            if shift > 63:
                raise PackError("a number has more than 64 bits")
        if value >= below:
            raise PackError(f"{value} is too large: it must be below {below}")
        return value

    def numbers(self, count: int) -> list[int]:
        if count > self.left:
            raise PackError(f"{count} numbers are announced where {self.left} bytes are left")
        return [self.number() for _ in range(count)]

    def end(self) -> None:
        if self.left:
            raise PackError(f"{self.left} bytes are left over")
