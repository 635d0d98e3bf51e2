"""Replays over a made grid: a search that knows nothing pays as much as it must, and one that learns pays less."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sweeps.engine.analysis.early_stopping.arrivals import Arrival, Read
from sweeps.engine.analysis.outcomes import Outcomes
from sweeps.engine.analysis.searching.grid import Grid, GridCell, grid_of, read_images, table_of
from sweeps.engine.analysis.searching.replay import Cell, Table, Trained, curve, hypervolume_share, replay
from sweeps.engine.commands.main import main
from sweeps.engine.commands.replay import shipped
from sweeps.engine.documents.grid_file import read_grid, write_grid
from sweeps.engine.study.folder import Study, StudyFolder, open_study
from sweeps.engine.study.stopping import Stopping
from sweeps.engine.wording.replay import replay_lines
from zsr_core.codec import ConfigError

MakeStudy = Callable[..., Study]
SIDE = 7


def table(*, two: bool = False, rungs: bool = False) -> Table:
    """A grid of 7 x 7 cells whose score is 100 at (5, 2) and falls with the distance; each cell costs 10."""
    cells = {}
    for x in range(SIDE):
        for y in range(SIDE):
            score = 100.0 - (x - 5) ** 2 - (y - 2) ** 2
            values = (score, 100.0 - 2 * x) if two else (score,)
            at_rung = ((1 / 9, {"clean": score - 5}), (1 / 3, {"clean": score - 3})) if rungs else ()
            trial = Trained(trial_id=f"{x}{y}", seed=0, train=9.0, evaluate=1.0, rungs=at_rung, final={"clean": score})
            cells[x, y] = Cell(name=f"{x} {y}", trials=(trial,), values=values, decides=score)
    objectives = ("clean", "robust") if two else ("clean",)
    return Table(
        study="made", axes={"x": SIDE, "y": SIDE}, ordered=(True, True), cells=cells, objectives=objectives,
        score="clean accuracy", seeds=(0,), tolerance=0.5,
    )  # fmt: skip


def test_the_grid_pays_for_each_cell_until_the_best_one() -> None:
    found = curve(table(), "grid", [replay(table(), "grid")])
    place = 5 * SIDE + 2 + 1  # the best cell is the 38th
    assert found.to_near == pytest.approx((place - 7) / SIDE**2)  # 99 is reached one row earlier
    assert found.to_error == pytest.approx(place / SIDE**2)
    assert found.regret[1, -1] == 0
    assert (np.diff(found.regret[1]) <= 0).all()


def test_random_search_needs_as_much_as_drawing_without_replacement() -> None:
    replays = [replay(table(), "random", seed=seed) for seed in range(30)]
    assert all(each.spent[-1] == 10 * SIDE**2 for each in replays)
    found = curve(table(), "random", replays)
    assert found.to_error == pytest.approx(0.5, abs=0.2)  # one cell of 49, uniformly


def test_a_search_that_learns_needs_less_than_random_search() -> None:
    shares = {}
    for name in ("tpe", "random"):
        replays = [replay(table(), name, seed=seed, cells=40) for seed in range(8)]
        shares[name] = np.mean([next(s for s, b in zip(r.spent, r.best, strict=True) if b >= 98) for r in replays])
    assert shares["tpe"] < shares["random"]


def test_no_cell_runs_twice_and_workers_run_side_by_side() -> None:
    found = replay(table(), "tpe", workers=16, seed=3)
    assert found.cells == SIDE**2
    assert found.spent[-1] == 10 * SIDE**2
    assert len(set(found.spent)) == SIDE**2


def test_the_same_seed_gives_the_same_replay() -> None:
    assert replay(table(), "tpe", workers=4, seed=1, cells=20) == replay(table(), "tpe", workers=4, seed=1, cells=20)


def test_the_hypervolume_of_all_cells_is_whole_and_of_one_it_is_its_rectangle() -> None:
    made = table(two=True)
    values = [cell.values for cell in made.cells.values() if cell.values is not None]
    assert hypervolume_share(made, values) == 1.0
    square = Table(
        study="s", axes={"x": 2}, ordered=(True,), objectives=("clean", "robust"), score="", seeds=(0,),
        cells={(x,): Cell(name=str(x), trials=(), values=(x, 2 - x), decides=0.0) for x in (0, 1, 2)},
    )  # fmt: skip
    assert hypervolume_share(square, [(1, 1)]) == 1.0  # the others only touch the worst values
    assert hypervolume_share(square, [(0, 2), (2, 0)]) == 0.0
    replays = [replay(made, "random", seed=seed) for seed in range(4)]
    found = curve(made, "random", replays)
    assert found.to_volume is not None
    assert found.volume is not None
    assert found.volume[1, -1] == pytest.approx(1.0)


def test_stopping_saves_cost_and_never_stops_the_best_where_rungs_tell_the_end() -> None:
    """Outcomes of 400 images: each cell's share of right ones is its score at the rung."""
    made = table(rungs=True)

    def read(arrival: object) -> dict[str, Outcomes]:
        share = (arrival.scores["clean"] - 40) / 60  # type: ignore[attr-defined]
        right = np.arange(400) < round(400 * max(0.0, share))
        return {"t": Outcomes(ids=np.arange(400).astype(str), clean=right.astype(float), robust=right.astype(float))}

    made = replace(made, read=read)
    replays = [replay(made, "random", seed=seed, stop=Stopping(), workers=4) for seed in range(3)]
    found = curve(made, "random", replays)
    assert found.stopped > 0.2
    assert found.wrong == 0
    assert max(each.spent[-1] for each in replays) < 10 * SIDE**2
    assert found.regret[1, -1] == 0


def test_the_lines_name_each_search_with_its_shares() -> None:
    curves = [curve(table(), name, [replay(table(), name)]) for name in ("random", "grid")]
    lines = replay_lines(table(), curves, 4, None)
    assert lines[0] == "made: 49 cells. The whole grid took 8 min of trials; its best clean accuracy is 100.00."
    assert lines[-3].split() == ["grid", "63%", "78%"]


def table_in(folder: StudyFolder, stop: Stopping | None = None) -> Table:
    return table_of(grid_of(folder), read_images(folder), ("harmonic",), stop)


def test_a_study_becomes_its_table(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path, seeds=(0, 1))
    folder = open_study(tmp_path)
    off = [replace(t, overrides={**t.overrides, "method.alpha": 0.0}) if t.cell == "alpha=0.01 beta=0.01" else t
           for t in folder.study.plan]  # fmt: skip
    study = replace(folder.study, plan=tuple(off))
    found = table_in(StudyFolder(path=tmp_path, study=study, results=folder.results))
    assert (len(found.cells), found.left_out) == (8, 1)
    assert found.cells[1, 1].name == "alpha=0.1 beta=0.1"
    assert found.cells[1, 1].decides == found.best
    assert found.cells[1, 1].cost == 2 * 2.0
    assert found.tolerance is not None


def made_grid(name: str = "made") -> tuple[Grid, Read]:
    """A grid of 3 x 3 cells, two seeds each, scored on five images of two tasks at two rungs."""
    draws = np.random.default_rng(0)
    images = {
        (f"{cell}-{seed}", rung): {
            task: Outcomes(
                ids=np.array([f"{task}/{i}" for i in range(n)]), clean=draws.integers(0, 2, n).astype(float),
                robust=draws.integers(0, 2, n).astype(float),
            )
            for task, n in (("t", 2), ("u", 3))
        }
        for cell in range(9) for seed in (0, 1) for rung in (1, 2)
    }  # fmt: skip

    def trained(cell: int, seed: int) -> Trained:
        shares = 9 / 74, 25 / 74  # 1/9 and 1/3 of 74 steps, in whole steps
        rungs = tuple((share, {"clean": 50.0 + cell, "robust": 10.0, "harmonic": 20.0}) for share in shares)
        final = {"clean": 60.0 + cell, "robust": 12.0, "harmonic": 22.0 + cell}
        return Trained(trial_id=f"{cell}-{seed}", seed=seed, train=9.0, evaluate=1.0, rungs=rungs, final=final)

    cells = tuple(
        GridCell(name=str(i), place=(i // 3, i % 3), trials=(trained(i, 0), trained(i, 1)), failed=i == 4,
                 scores={"clean": 60.0 + i, "robust": 12.0, "harmonic": None if i == 4 else 22.0 + i})
        for i in range(9)
    )  # fmt: skip
    grid = Grid(
        name=name, question="Which?", levels={"method.alpha": (0.1, 1.0, 3.0), "optim.name": ("a", "b", "c")},
        cells=cells, seeds=(0, 1), objectives=("clean", "robust"), score_eps=2 / 255, stop=Stopping(rule="watch"),
        errors={"harmonic": 0.5}, left_out=1, note="measured on the built-in miniature",
    )  # fmt: skip
    return grid, lambda arrival: images[arrival.trial_id, arrival.rung]


def test_a_grid_is_read_back_from_its_file_as_it_was(tmp_path: Path) -> None:
    grid, read = made_grid()
    again, reread = read_grid(write_grid(grid, read, tmp_path / "grid.parquet"))
    assert again == grid
    for trial in (trial for cell in grid.cells for trial in cell.trials):
        for rung in (1, 2):
            at = Arrival(trial_id=trial.trial_id, cell="", seed=trial.seed, rung=rung, scores={})
            before, after = read(at), reread(at)
            assert before.keys() == after.keys()
            for task, own in before.items():
                assert own.ids.tolist() == after[task].ids.tolist()
                assert own.clean.tolist() == after[task].clean.tolist()
                assert own.robust.tolist() == after[task].robust.tolist()
    tables = [table_of(*each, ("harmonic",), Stopping()) for each in ((grid, read), (again, reread))]
    first, second = (replay(each, "tpe", seed=3, stop=Stopping()) for each in tables)
    assert first == second


def test_early_stopping_is_replayed_only_at_the_rungs_that_the_grid_was_run_with() -> None:
    grid, read = made_grid()
    assert table_of(grid, read, ("harmonic",), Stopping()).read is read
    for other in (replace(grid, stop=None), replace(grid, stop=Stopping(shares=(0.2, 0.5)))):
        with pytest.raises(ConfigError, match="--stop watch"):
            table_of(other, read, ("harmonic",), Stopping())


def test_every_grid_that_comes_with_the_product_is_read_and_has_rungs() -> None:
    assert len(shipped()) == 3
    for name, path in shipped().items():
        grid, read = read_grid(path)
        assert (grid.name, grid.seeds) == (name, (0, 1, 2))
        assert table_of(grid, read, ("harmonic",), Stopping()).cost > 0


def test_grids_of_several_files_are_replayed_into_one_profile(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(write_grid(*made_grid(name), tmp_path / f"{name}.parquet")) for name in ("one", "two")]
    asked = ["replay", "--grid", *files, "--search", "random", "--repeats", "3", "--out", str(tmp_path / "out")]
    assert main(asked) == 0
    out = capsys.readouterr().out
    assert "Over 2 grids" in out
    assert out.splitlines()[0].startswith("one: 9 cells; 1 cell with a weight off left out.")
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == {
        "replay-one.png", "replay-two.png", "replay-profile.png"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], "--study: got None, expected either a study's folder or --grid"),
        (["--study", "S", "--grid", "all"], "--study: got 'S', expected either a study's folder or --grid"),
        (["--grid", "nope"], "--grid: unknown value 'nope'"),
        (
            ["--grid", "nope.parquet"],
            "--grid: got 'nope.parquet', expected a file that `zsr replay --keep` has written",
        ),
        (["--grid", "all", "--keep", "x.parquet"], "--keep: got 'x.parquet', expected --study with it"),
    ],
)
def test_flags_that_name_no_grid_are_refused(
    flags: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", *flags]) != 0
    assert expected in capsys.readouterr().err


def test_what_is_no_finished_grid_is_refused(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path / "search", points=[(0.1, 0.1)], report=False)
    with pytest.raises(ConfigError, match="a grid over a space"):
        grid_of(open_study(tmp_path / "search"))
    make_study(tmp_path / "open", missing=lambda t: t.cell == "alpha=1 beta=1")
    with pytest.raises(ConfigError, match="a finished grid"):
        grid_of(open_study(tmp_path / "open"))
    make_study(tmp_path / "rungs")
    with pytest.raises(ConfigError, match="--stop watch"):
        table_in(open_study(tmp_path / "rungs"), Stopping())


def test_the_command_prints_the_shares_and_draws_them(
    tmp_path: Path, make_study: MakeStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    make_study(tmp_path)
    asked = ["replay", "--study", str(tmp_path), "--workers", "2", "--repeats", "2", "--objectives", "clean,robust"]
    assert main([*asked, "--search", "random"]) == 0
    out = capsys.readouterr().out
    assert "99 % of volume" in out
    assert (tmp_path / "figures" / "replay.png").is_file()
