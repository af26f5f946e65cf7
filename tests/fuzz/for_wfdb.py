"""A header as the package wfdb is asked to read it, for comparison."""

from __future__ import annotations


def for_wfdb(raw: bytes) -> bytes:
    """A header without what we do not read (time, date), or read on purpose where wfdb does not.

    That is an ending of the record's name, a count of 0 samples, which stands for none, and `µ`, which wfdb drops.
    """
    lines = [line.strip() for line in raw.replace("/µ".encode(), b"/u").replace("/μ".encode(), b"/u").splitlines()]
    lines = [line for line in lines if line and not line.startswith(b"#")]
    name, *numbers = lines[0].split()[:4]
    if len(numbers) == 3 and int(numbers[2]) == 0:
        del numbers[2]
    return b"\n".join([b" ".join([name.replace(b".", b"_"), *numbers]), *lines[1:], b""])
