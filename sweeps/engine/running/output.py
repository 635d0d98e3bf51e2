"""Make standard output accept every text: characters outside its encoding are replaced instead of raising an error."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def encodable_output() -> Iterator[None]:
    """Within, print ``?`` for characters outside the encoding of standard output, such as ± in ASCII.

    Tables and answers contain such characters. They are printed after all trials have run, when an error would hide
    the answer. Standard error needs no change, because Python escapes such characters in it.
    """
    stream = sys.stdout
    if not isinstance(stream, io.TextIOWrapper):  # replaced by a notebook or a test
        yield
        return
    before = stream.errors
    stream.reconfigure(errors="replace")
    try:
        yield
    finally:
        if not stream.closed:
            stream.reconfigure(errors=before)
