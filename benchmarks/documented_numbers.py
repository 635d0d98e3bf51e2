"""Are the numbers of README and docs still true? Each is compared with a study that its command has made afresh.

    python sweeps/tga_alpha_beta.py && python sweeps/methods_table.py --report-all
    python benchmarks/documented_numbers.py --results results

Lists the numbers that differ from the fresh study by more than its 95 % interval, and ends with exit code 1 if there
are any. Numbers whose study is not in the results folder are listed with the command that makes it.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass, replace
from pathlib import Path

from sweeps.engine.analysis.choice import chosen
from sweeps.engine.analysis.outcomes import row_interval
from sweeps.engine.analysis.scores import CellScore, scores, untouched_score
from sweeps.engine.study.folder import StudyFolder, open_study
from zsr_core.data import Split

ROOT = Path(__file__).resolve().parents[1]
UNTOUCHED, CHOSEN = "untouched", "chosen"
DEMO, METHODS = "python sweeps/tga_alpha_beta.py", "python sweeps/methods_table.py --report-all"
NUMBER = r"(\d+\.\d+)"


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Which number of a study is meant."""

    row: str  # UNTOUCHED, CHOSEN, or the label of a row
    score: str
    split: Split = "selection"


@dataclass(frozen=True, kw_only=True)
class Documented:
    """A sentence or table row that states numbers, with one ``#`` for each, and what each of them reads."""

    file: str
    text: str
    command: str
    study: str
    readings: tuple[Reading, ...]


def _both(row: str, split: Split = "selection") -> tuple[Reading, ...]:
    return tuple(Reading(row=row, score=score, split=split) for score in ("clean", "robust"))


def _rows(*methods: str) -> tuple[Documented, ...]:
    return tuple(
        Documented(file="docs/methods.md", text=f"| {method} | # ± {{}} | # ± {{}} |", command=METHODS,
                   study="methods_table", readings=_both(method, "report"))
        for method in methods
    )  # fmt: skip


NUMBERS: tuple[Documented, ...] = (
    Documented(
        file="README.md", text="raises robust accuracy from # to # %", command=DEMO, study="tga_alpha_beta",
        readings=(Reading(row=UNTOUCHED, score="robust"), Reading(row=CHOSEN, score="robust")),
    ),
    Documented(
        file="README.md", text="lowers clean accuracy from # to # %", command=DEMO, study="tga_alpha_beta",
        readings=(Reading(row=UNTOUCHED, score="clean"), Reading(row=CHOSEN, score="clean")),
    ),
    Documented(
        file="README.md", text="the chosen model has # clean and # robust", command=DEMO, study="tga_alpha_beta",
        readings=_both(CHOSEN, "report"),
    ),
    *_rows(
        "FARE", "PMG-AFT", "CAW", "UCAT", "TeCoA", "FT-Adv", "Comp-TGA", "LAAT", "TGA-ZSR", "MART", "AGFT", "TRADES",
        "ARoW", "LP-FT", "FLYP", "FT-Clean",
    ),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Checked:
    """One documented number beside the fresh one; without a fresh one, ``why``."""

    file: str
    text: str
    command: str
    documented: float
    fresh: float | None = None
    low: float | None = None  # 95 %, like high
    high: float | None = None
    why: str = ""

    @property
    def differs(self) -> bool:
        """Return whether the documented number lies outside the fresh interval, a last digit aside."""
        if self.low is None or self.high is None:
            return self.fresh is not None and abs(self.documented - self.fresh) > 0.05
        return not self.low - 0.05 <= self.documented <= self.high + 0.05


def stated(text: str, pattern: str) -> list[float]:
    """Return the numbers at the ``#`` of ``pattern``, wherever lines break; ``{}`` stands for a number not read.

    Raises:
        ValueError: if the text does not hold the pattern once.
    """
    words = re.escape(pattern).replace(r"\#", NUMBER).replace(r"\{\}", r"\d+\.\d+").replace(r"\ ", r"\s+")
    found = re.findall(words, text)
    if len(found) != 1:
        raise ValueError(f"{pattern!r} stands {len(found)} times in the text, expected once")
    return [float(number) for number in (found[0] if isinstance(found[0], tuple) else found)]


def row_of(folder: StudyFolder, reading: Reading) -> CellScore | None:
    """Return the row that a reading means; None if it has not been scored on that split."""
    if reading.row == UNTOUCHED:
        return untouched_score(folder, reading.split)
    best = chosen(folder)
    rows = [*scores(folder, "cell", reading.split), *scores(folder, "final", reading.split)]
    if reading.row == CHOSEN:
        return next((row for row in rows if best is not None and row.overrides == best.overrides), best)
    named = [row for row in rows if row.cell.removesuffix(" (report)") == reading.row]
    return named[0] if named else None


def checked(number: Documented, reading: Reading, documented: float, folder: StudyFolder | None) -> Checked:
    """Return one number beside the fresh one."""
    unread = Checked(file=number.file, text=number.text, command=number.command, documented=documented)
    if folder is None:
        return replace(unread, why="no such study in the results folder")
    row = row_of(folder, reading)
    fresh = None if row is None else row.value(reading.score)
    if row is None or fresh is None:
        return replace(unread, why=f"{reading.row} has no score on the {reading.split} split")
    interval = row_interval(folder, row).get(reading.score)
    low, high = (None, None) if interval is None else (interval.low, interval.high)
    return replace(unread, fresh=fresh, low=low, high=high)


def check(results: Path) -> list[Checked]:
    """Return every documented number beside that of its study below ``results``."""
    rows = []
    for number in NUMBERS:
        place = results / number.study
        folder = open_study(place) if (place / "study.json").is_file() else None
        values = stated((ROOT / number.file).read_text(encoding="utf-8"), number.text)
        for reading, value in zip(number.readings, values, strict=True):
            rows.append(checked(number, reading, value, folder))
    return rows


def line(row: Checked) -> str:
    """Return one number as text."""
    where = f"{row.file}: {row.text}: {row.documented:g}"
    if row.fresh is None:
        return f"unchecked  {where} ({row.why}; {row.command})"
    interval = "" if row.low is None or row.high is None else f" [{row.low:.1f}, {row.high:.1f}]"
    return f"{'DIFFERS ' if row.differs else 'holds   '}   {where}, fresh {row.fresh:.1f}{interval} ({row.command})"


def main() -> int:
    """Print every number, and return 1 if one differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("results"))
    rows = check(parser.parse_args().results)
    print("\n".join(map(line, rows)))
    return int(any(row.differs for row in rows))


if __name__ == "__main__":
    raise SystemExit(main())
