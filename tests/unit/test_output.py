"""What standard output does with characters that its encoding lacks."""

from __future__ import annotations

import io
import sys

import pytest

from sweeps.engine.running.output import encodable_output
from sweeps.engine.running.progress import Lines, Tally

ENCODINGS = [("ascii", "? ?"), ("latin-1", "\u00b1 ?"), ("utf-8", "\u00b1 \u03b1")]


@pytest.mark.parametrize(("encoding", "shown"), ENCODINGS)
def test_a_character_that_the_encoding_lacks_becomes_a_question_mark(
    monkeypatch: pytest.MonkeyPatch, encoding: str, shown: str
) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", out)
    with encodable_output():
        print("\u00b1 \u03b1")
        Lines(out).show(Tally(title="s", planned=1, done=0, began=0.0), "\u03b1=0.1 ends")
    assert out.errors == "strict", "the stream is as before"
    out.seek(0)
    assert out.readline() == f"{shown}\n"
    assert out.readline().endswith("=0.1 ends  [0/1 done]\n")


def test_a_stream_of_another_kind_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    with encodable_output():
        print("\u00b1")
    assert out.getvalue() == "\u00b1\n"
