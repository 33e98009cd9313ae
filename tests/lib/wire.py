"""Protocol buffers by hand: as much as a kubelet writes to a CSI driver and reads from it."""

from __future__ import annotations

from typing import Iterable, Mapping

Field = tuple[int, "int | bytes"]


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(number: int, value: int | bool | bytes | str) -> bytes:
    if isinstance(value, (int, bool)):
        return varint(number << 3) + varint(int(value))
    content = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(content)) + content


def pairs(number: int, mapping: Mapping[str, str] | Iterable[tuple[str, str]]) -> bytes:
    """A map<string, string>, or pairs of which a key may be there twice."""
    items = mapping.items() if isinstance(mapping, Mapping) else mapping
    return b"".join(field(number, field(1, key) + field(2, value)) for key, value in items)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return number, at


def parse(data: bytes) -> list[Field]:
    """The fields of a message in their order: numbers and runs of bytes."""
    fields: list[Field] = []
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        value, at = _read_varint(data, at)
        if tag & 7 == 0:
            fields.append((tag >> 3, value))
            continue
        assert tag & 7 == 2, f"wire type {tag & 7}"
        fields.append((tag >> 3, data[at : at + value]))
        at += value
    return fields
