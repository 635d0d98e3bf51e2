"""``zsr replay``: searches tried out over finished grids, in seconds, on simulated workers."""

from __future__ import annotations

import argparse
from pathlib import Path

from sweeps.engine.commands.shared import read_study_path, say
from sweeps.engine.running.flags import Parser, read_folder, read_name, read_text, read_whole
from sweeps.engine.running.launch_flags import SEARCHES, STOPS
from zsr_core.codec import parse_names, require, unknown

WORDS = "try searches out over a finished grid: which share of its cost each needs"
MOST_REPEATS, MOST_WORKERS = 10_000, 10_000
ALL = "all"
ENDING = ".parquet"


def add(command: Parser) -> None:
    flag = command.add_argument
    flag("--study", metavar="DIR", help="the folder of a study that is a finished grid")
    words = f"instead of --study: grids that come with zsr, by name ({', '.join(shipped())}), or files of --keep; "
    flag("--grid", nargs="+", metavar="GRID", help=f"{words}{ALL}: all that come with zsr")
    flag("--keep", metavar="FILE", help="write the study's grid into one file, for --grid, and replay nothing")
    words = f"searches to replay: {', '.join(SEARCHES)} (default tpe); random and the grid's order stand beside them"
    flag("--search", nargs="+", default=["tpe"], metavar="NAME", help=words)
    flag("--stop", default="none", metavar="RULE", help="with early stopping: asha or hyperband (default none)")
    flag("--workers", default="1", metavar="N", help="simulated workers (default 1)")
    flag("--repeats", default="50", metavar="N", help="replays of each search, each with its own seed (default 50)")
    flag("--objectives", metavar="A[,B]", help="scores that the search is told (default: the study's deciding score; "
         "two: also the hypervolume)")  # fmt: skip
    flag("--out", default="results/replays", metavar="DIR", help="with --grid: where figures go "
         "(default results/replays; those of a study go into its folder)")  # fmt: skip


def shipped() -> dict[str, Path]:
    """Return the files of the grids that come with zsr, by name."""
    folder = Path(__file__).parents[2] / "replays"
    return {path.stem: path for path in sorted(folder.glob(f"*{ENDING}"))}


def run(options: argparse.Namespace) -> int:
    expected = "either a study's folder or --grid"
    require((options.study is None) != (options.grid is None), "--study", options.study, expected)
    searches = tuple(read_name("--search", name, SEARCHES) for name in options.search)
    workers = read_whole("--workers", options.workers, most=MOST_WORKERS)
    repeats = read_whole("--repeats", options.repeats, most=MOST_REPEATS)
    read_name("--stop", options.stop, STOPS)
    read_text("--keep", options.keep, "a file to write")
    require(options.keep is None or options.study is not None, "--keep", options.keep, "--study with it")
    out = read_folder("--out", options.out)
    files = [] if options.grid is None else grid_files(options.grid)
    from sweeps.engine.analysis.searching.grid import grid_of, read_images  # noqa: PLC0415 - brings Optuna
    from sweeps.engine.documents.grid_file import read_grid, write_grid  # noqa: PLC0415
    from sweeps.engine.documents.replay import Asked, write_replays  # noqa: PLC0415 - and matplotlib
    from sweeps.engine.study.folder import open_study  # noqa: PLC0415
    from sweeps.engine.study.objectives import check_objectives, deciding_score  # noqa: PLC0415
    from sweeps.engine.study.stopping import PAIRED, check_stoppable, stopping  # noqa: PLC0415
    from sweeps.engine.wording.study import scale_note  # noqa: PLC0415

    given = None if options.objectives is None else parse_names(options.objectives)
    if given is not None:
        check_objectives(given)
    asked = Asked(
        searches=searches, objectives=given, stop=stopping(options.stop, "--stop"), workers=workers, repeats=repeats
    )
    if options.study is None:
        kept = [read_grid(file) for file in files]
        grids = [(grid, read, out / f"replay-{grid.name}") for grid, read in kept]
    else:
        folder = open_study(read_study_path(options.study))
        wanted = given or (deciding_score(folder.study.objectives).name,)
        names = (*dict.fromkeys((*wanted, deciding_score(wanted).name, *PAIRED)),)
        grid, read = grid_of(folder, names, note=scale_note(folder.study)), read_images(folder)
        if options.keep is not None:
            return say([write_grid(grid, read, Path(options.keep).expanduser())])
        grids = [(grid, read, folder.path / "figures" / "replay")]
    if asked.stop is not None:
        for grid, *_ in grids:
            check_stoppable(asked.told(grid), "--stop")
    return say(write_replays(grids, asked, out / "replay-profile"))


def grid_files(names: list[str]) -> list[Path]:
    """Return the files that ``--grid`` names.

    Raises:
        ConfigError: naming the flag, for what is neither a name nor a file.
    """
    known = shipped()
    if names == [ALL]:
        return list(known.values())
    for name in names:
        if name not in known and not name.endswith(ENDING):
            raise unknown("--grid", name, (*known, ALL, f"a file that ends with {ENDING}"))
    return [known.get(name, Path(name).expanduser()) for name in names]
