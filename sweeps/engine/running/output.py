"""Standard output that takes every text: what its encoding lacks is replaced instead of ending the process."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def encodable_output() -> Iterator[None]:
    """Within, print a ``?`` for characters that the encoding of standard output lacks, such as ± in ASCII.

    Tables and answers hold such characters. They are printed when all trials have run, where an error would hide the
    answer. Standard error needs no such care, because Python escapes there what it cannot encode.
    """
    stream = sys.stdout
    if not isinstance(stream, io.TextIOWrapper):  # a notebook's or a test's own
        yield
        return
    before = stream.errors
    stream.reconfigure(errors="replace")
    try:
        yield
    finally:
        if not stream.closed:
            stream.reconfigure(errors=before)
