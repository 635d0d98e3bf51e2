"""Names that a command line offers: each table has exactly these rows, and printing them imports no torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

from zsr_core import names
from zsr_core.attacks.profiles import PROFILES
from zsr_core.trial.presets import PRESETS

HEAVY = ("torch", "open_clip", "numpy", "pyarrow")
SCRIPT = """
import runpy, sys
sys.argv = {argv!r}
try:
    runpy.run_module({module!r}, run_name="__main__")
except SystemExit as end:
    assert end.code == 0
print("loaded", [name for name in {heavy!r} if name in sys.modules])
"""


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["evaluate", "--help"]], ids=" ".join)
def test_a_help_text_of_the_core_imports_nothing_heavy(words: list[str]) -> None:
    script = SCRIPT.format(argv=["zsr_core", *words], module="zsr_core", heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded []"
    assert done.stdout.startswith("usage: python -m zsr_core")


def test_tables_have_the_rows_of_their_names_in_that_order() -> None:
    assert tuple(PROFILES) == names.ATTACKS
    assert tuple(PRESETS) == names.PRESETS


@pytest.mark.parametrize("rows", [{"a": 1}, {"a": 1, "b": 2, "c": 3}])
def test_a_table_that_lacks_a_row_or_has_another_is_refused(rows: dict[str, int]) -> None:
    with pytest.raises(KeyError, match=r"names and rows differ in [bc]'"):
        names.rows_of(("a", "b"), rows)
    assert list(names.rows_of(("b", "a"), {"a": 1, "b": 2})) == ["b", "a"]
