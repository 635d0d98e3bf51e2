"""The report page: what it says, that it is whole HTML, and that it fetches nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from sweeps.engine.analysis.stats import holm
from sweeps.engine.commands.main import main
from sweeps.engine.documents.html import Picture
from sweeps.engine.documents.report.figures import drawn
from sweeps.engine.documents.report.gather import gather
from sweeps.engine.documents.report.model import Report
from sweeps.engine.documents.report.page import page
from sweeps.engine.study.folder import PlannedTrial, Study, StudyFolder, open_study, trial_folder, write_study
from sweeps.engine.study.objectives import shown_scores
from sweeps.engine.wording.answer import where
from sweeps.engine.wording.comparison import basis_text, choice, row_name, summary, warnings
from zsr_core.audit.report import Report as AuditReport
from zsr_core.audit.verdict import Verdict
from zsr_core.codec import ConfigError, to_plain

MakeStudy = Callable[..., Study]
VOID = {"meta", "br", "img", "input", "hr", "link"}
LEVELS = (0.1, 1.0)
BEST = "alpha=0.1 beta=0.1"
DOT = Picture(title="Dot.", uri="data:image/png;base64,AAAA", words='A "dot" <here>.')


class Page(HTMLParser):
    """Fails on a tag that is closed before its own; keeps the text, the tags and what attributes refer to."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.refers: list[str] = []
        self.ids: list[str] = []
        self.words = ""
        self.feed(source)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.refers += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += f" {data}"


def undrawn(folder: StudyFolder, room: int) -> tuple[tuple[Picture, ...], tuple[str, ...]]:
    return (DOT,), ()


def gathered(*paths: Path) -> Report:
    return gather([open_study(path) for path in paths], undrawn)


def read(*folders: Path) -> tuple[Report, Page]:
    """Return the report on the studies and its page, which every test checks for being whole and self-contained."""
    report = gathered(*folders)
    source = page(report)
    found = Page(source)
    assert not set(found.tags) & {"script", "link", "iframe", "object", "embed"}
    assert all(ref.startswith(("data:image/", "#")) for ref in found.refers)
    assert {ref[1:] for ref in found.refers if ref.startswith("#")} <= set(found.ids)
    assert not re.search(r"url\(|@import|http", source)
    found.words = " ".join(found.words.split())
    return report, found


def section(found: Page, title: str, until: str) -> str:
    return found.words.split(f" {title} ", 1)[1].split(f" {until} ", 1)[0]


def change(folder: Path, trial: PlannedTrial, **changes: object) -> None:
    path = trial_folder(folder, trial.trial_id) / "result.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def trial(study: Study, cell: str, role: str = "cell") -> PlannedTrial:
    return next(t for t in study.plan if (t.cell, t.role) == (cell, role))


def test_the_answer_is_scored_on_images_that_chose_nothing(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(tmp_path, seeds=(0, 1, 2))
    report, found = read(tmp_path)
    answer = report.studies[0].answer
    results = open_study(tmp_path).results
    values = [
        m.value
        for t in study.plan
        if t.role == "final"
        for m in results[t.trial_id].measurements
        if (m.task, m.metric) == ("zero_shot_mean", "harmonic")
    ]
    mean = sum(values) / 3
    assert answer.tiles[2].title == "harmonic mean"
    assert answer.tiles[2].value == f"{mean:.1f}\u00a0%"
    assert f"alpha=0.1 beta=0.1 is the best of 9 configurations by harmonic mean: {mean:.1f}" in answer.sentence
    assert "on the report split, whose images played no part in choosing it" in answer.sentence
    assert "over 3 seeds" in answer.sentence
    assert any(note.startswith("Winner's curse: of 9 equally good cells") for note in answer.notes)
    assert " ".join(answer.sentence.split()) in found.words


def test_before_the_report_split_has_run_the_page_says_so(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path, levels=LEVELS, report=False)
    report, found = read(tmp_path)
    assert "on the selection split;" in report.studies[0].answer.sentence
    assert "The report split: no number here comes from images that played no part in choosing." in found.words


def test_a_study_without_a_finished_trial_has_a_page_that_says_it(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path, levels=(0.1,), missing=lambda t: True, report=False)
    report, found = read(tmp_path)
    assert report.studies[0].answer.sentence == "No configuration has finished: there is no answer yet."
    assert "Not run, 2 trials: untouched seed=0, alpha=0.1 beta=0.1 seed=0." in found.words


def test_one_trial_is_a_page(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path, levels=(0.1,), missing=lambda t: t.role == "baseline", report=False)
    report, _ = read(tmp_path)
    tiles = report.studies[0].answer.tiles
    assert [tile.gain for tile in tiles] == ["", "", ""]
    assert all("over images" in tile.spread for tile in tiles)


def test_failures_are_told_with_their_reason_and_missing_trials_by_name(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(
        tmp_path, levels=LEVELS, fails=lambda t: t.cell == "alpha=1 beta=1",
        missing=lambda t: t.cell == "alpha=1 beta=0.1",
    )  # fmt: skip
    _, found = read(tmp_path)
    told = found.words.split("What was not run")[1]
    assert "Failed: alpha=1 beta=1 seed=0: loss is NaN at step 12, term larm" in told
    assert "Not run, 1 trial: alpha=1 beta=0.1 seed=0." in told
    assert "failed: loss is NaN at step 12, term larm" in section(found, "Configurations", "Figures")


def test_an_audit_that_fails_stands_at_the_number(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(tmp_path, levels=LEVELS)
    for role in ("cell", "final"):
        change(tmp_path, trial(study, BEST, role), audit={"G09": "FAIL", "G13": "PASS"})
    report, found = read(tmp_path)
    clean, robust, harmonic = report.studies[0].answer.tiles
    assert clean.doubt == ""
    assert robust.doubt == harmonic.doubt == "† FAIL G09: robustness unverified"
    assert robust.value.endswith("†\u00a0%")
    assert "Its robustness is unverified: the audit fails." in report.studies[0].answer.sentence
    assert "2 of 7 configurations audited:" in found.words
    assert re.search(r"robust, %.*?†", section(found, "Configurations", "Figures"))


def test_verdicts_beside_a_result_are_told_with_figure_and_advice(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(tmp_path, levels=LEVELS)
    where = trial_folder(tmp_path, trial(study, BEST).trial_id) / "audit.json"
    verdict = Verdict(rule="G19", status="WARN", figure="PGD 42, AutoAttack 38", advice="Look.")
    kept = AuditReport(
        trial_id="t", weights_sha="w", norm="linf", eps=1 / 255, tier="cheap", images=64, passes=9, verdicts=(verdict,)
    )
    where.write_text(json.dumps(to_plain(kept)))
    _, found = read(tmp_path)
    told = section(found, "Audit", "Cost")
    assert "PGD 42, AutoAttack 38" in told
    assert "Look." in told
    assert "cheap, 64 images at 1/255" in told
    where.write_text("{}")
    with pytest.raises(ConfigError, match=re.escape(str(where))):
        read(tmp_path)


def test_an_unaudited_study_says_that_nothing_was_tested(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path, levels=LEVELS)
    _, found = read(tmp_path)
    assert "None of these numbers has been audited" in section(found, "Audit", "Cost")
    assert "PGD alone is no proof of robustness." in found.words
    assert "The audit of any configuration" in found.words


def test_the_miniature_is_named_where_its_numbers_are(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path / "a", levels=LEVELS)
    make_study(tmp_path / "b", levels=LEVELS)
    assert read(tmp_path / "a")[1].words.count("easured on the built-in miniature") >= 2
    two = read(tmp_path / "a", tmp_path / "b")[1].words
    assert "measured on the built-in miniature" in two.split("Configurations")[0]


def test_costs_are_added_up_and_shared_weights_are_trained_once(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(tmp_path, levels=LEVELS)
    passes = {"passes_forward": 100.0, "passes_input_backward": 20.0, "passes_full_backward": 10.0}
    for role in ("cell", "final"):  # one training, two evaluations
        kept = {"seconds_train": 1.5, "seconds_eval": 0.5, "seconds_total": 2.0, "gpu_seconds": 2.0}
        change(tmp_path, trial(study, BEST, role), cost={**kept, **passes})
    cost = dict(gathered(tmp_path).studies[0].cost)
    assert cost["GPU"] == "4 GPU seconds"
    assert cost["wall time, added up"] == "14 s: 10 s of training, 4 s of evaluation"
    assert cost["training"].startswith("100 forward, 20 input-only and 10 full backward passes")
    assert "140 forwards' worth" in cost["training"]
    assert cost["evaluation"] == f"{7 * 4 * 24 * 2:,} images forwarded by attacks"


def test_provenance_names_every_commit_and_repeats_by_command(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(tmp_path, levels=LEVELS, seeds=(0, 1))
    change(tmp_path, study.plan[0], provenance={"git_sha": "f" * 40, "git_dirty": "true", "device": "cuda: H200"})
    told = gathered(tmp_path).studies[0]
    facts = dict(told.provenance)
    assert facts["commit"] == "ffffffffffff with uncommitted changes (1 trial), 0123456789ab (13 trials)"
    assert facts["device"] == "cuda: H200 (1 trial), cpu (13 trials)"
    assert told.again[:2] == (
        "git checkout 0123456789abcdef",
        "python sweeps/weights.py --preset miniature --seeds 2 --objectives clean,robust --results again",
    )


def test_an_ablation_has_its_matrix_and_a_grid_its_ranking(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(tmp_path, levels=LEVELS)
    grid = section(read(tmp_path)[1], "Configurations", "Figures")
    assert grid.index("0.1 0.1 ") < grid.index("untouched")
    assert "Δ clean" in grid
    write_study(tmp_path, replace(study, space={}, baseline="alpha=1 beta=1"))
    matrix = section(read(tmp_path)[1], "Configurations", "Figures")
    assert "above the row 'alpha=1 beta=1'" in matrix


def test_a_long_ranking_is_cut_and_says_by_how_much(
    tmp_path: Path, make_study: MakeStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_study(tmp_path, levels=LEVELS, report=False)
    monkeypatch.setattr("sweeps.engine.documents.report.gather.LISTED", 1)
    report, found = read(tmp_path)
    (ranking,) = report.studies[0].tables
    assert [row[0] for row in ranking.rows] == ["0.1", "untouched"]
    assert "3 further configurations, lower in rank, not shown." in found.words


def test_every_text_is_escaped(tmp_path: Path, make_study: MakeStudy) -> None:
    evil = "<script>alert('1')</script> & \"x\""
    study = make_study(tmp_path, levels=LEVELS, fails=lambda t: t.cell == "alpha=1 beta=1")
    write_study(tmp_path, replace(study, question=evil, study=evil, name=evil))
    failed = trial(study, "alpha=1 beta=1")
    change(tmp_path, failed, error=evil, provenance={"device": evil, "git_sha": evil})
    change(tmp_path, study.plan[0], provenance={"device": evil, "host": evil, "weights_sha": evil})
    found = read(tmp_path)[1]
    assert evil in found.words
    make_study(tmp_path / "other", levels=LEVELS)
    assert evil in read(tmp_path, tmp_path / "other")[1].words


def test_the_same_study_elsewhere_is_the_same_image_by_image(tmp_path: Path, make_study: MakeStudy) -> None:
    for name in ("a", "b"):
        make_study(tmp_path / name, levels=LEVELS, seeds=(0, 1))
    report, found = read(tmp_path / "a", tmp_path / "b")
    (comparison,) = report.comparisons
    assert [row.report for row in comparison.rows] == [True, True, *[False] * 5]
    assert all(row.same for row in comparison.rows)
    assert (comparison.changes, comparison.world, warnings(comparison)) == ((), (), ())
    assert choice(comparison) == f"Both choose {BEST}."
    assert "7 are the same image by image" in found.words
    assert found.words.count("0, image by image") == 21


def test_a_difference_is_paired_by_seed_and_image(
    tmp_path: Path, make_study: MakeStudy, copy_records: Callable[[Path, Path], None]
) -> None:
    first = make_study(tmp_path / "a", levels=LEVELS, seeds=(0, 1))
    second = make_study(tmp_path / "b", levels=LEVELS, seeds=(1, 2))
    own, other = trial(first, "alpha=1 beta=1"), trial(second, BEST)
    assert own.seed == 0
    swapped = trial_folder(tmp_path / "b", next(t for t in second.plan if t.cell == "alpha=1 beta=1").trial_id)
    copy_records(trial_folder(tmp_path / "b", other.trial_id), swapped)  # what last week had under this name was better
    report, _ = read(tmp_path / "a", tmp_path / "b")
    row = next(row for row in report.comparisons[0].rows if row.label == "alpha=1 beta=1")
    assert basis_text(row) == "1 seed × 72 images of 3 sets"
    delta = row.differences["robust"]
    assert delta.low is not None
    assert delta.high is not None
    assert delta.low < delta.value < delta.high < 0
    assert "seeds" in [change.path for change in report.comparisons[0].changes]


def test_two_studies_are_compared_as_one_family_of_tests(
    tmp_path: Path, make_study: MakeStudy, copy_records: Callable[[Path, Path], None]
) -> None:
    """What was worse last week, by as many points in each of two rows; the others are as they were."""
    seeds = (0, 1, 2, 3, 4)  # with fewer the seeds by themselves must bear the sign out too
    first = make_study(tmp_path / "a", levels=LEVELS, seeds=seeds)
    second = make_study(tmp_path / "b", levels=LEVELS, seeds=seeds)
    source = trial_folder(tmp_path / "a", trial(first, "untouched", "baseline").trial_id)
    measured = json.loads((source / "result.json").read_text())["measurements"]
    for t in second.plan:
        if t.cell in ("alpha=0.1 beta=1", "alpha=1 beta=0.1"):
            copy_records(source, trial_folder(tmp_path / "b", t.trial_id))
            change(tmp_path / "b", t, measurements=measured)
    report, found = read(tmp_path / "a", tmp_path / "b")
    (comparison,) = report.comparisons
    deltas = [delta for row in comparison.rows for delta in row.differences.values()]
    assert [delta.p_holm for delta in deltas] == holm([delta.p or 0.0 for delta in deltas])
    assert {(row.label, name) for row in comparison.rows for name, delta in row.differences.items() if delta.holds} == {
        (label, score.name)
        for label in ("alpha=0.1 beta=1", "alpha=1 beta=0.1")
        for score in shown_scores(first.objectives)
    }
    assert "Holm-corrected over the 21 comparisons of this table (7 rows" in found.words
    words = "after Holm's correction over 21 comparisons: clean accuracy is lower in 2, robust accuracy is higher in 2"
    assert words in found.words
    assert "p<0.001 *" in found.words


def test_without_records_or_seeds_in_common_a_difference_has_no_interval(tmp_path: Path, make_study: MakeStudy) -> None:
    studies = {name: make_study(tmp_path / name, levels=(0.1,), seeds=seeds, report=False)
               for name, seeds in (("a", (0, 1, 2)), ("b", (0, 1, 2)), ("c", (5,)))}  # fmt: skip
    for t in studies["a"].plan:
        (trial_folder(tmp_path / "a", t.trial_id) / "samples.parquet").unlink()
    by_seed = gathered(tmp_path / "a", tmp_path / "b").comparisons[0].rows[0]
    assert basis_text(by_seed) == "3 seeds"
    clean = by_seed.differences["clean"]
    assert (clean.low, clean.p) == (None, None)
    assert (clean.seeds, clean.t_low, clean.t_high) == (3, 0.0, 0.0), "of equal studies all seeds agree"
    unpaired = gathered(tmp_path / "a", tmp_path / "c").comparisons[0].rows[0]
    (comparison,) = gathered(tmp_path / "a", tmp_path / "c").comparisons
    assert "nothing could be tested" in summary(comparison)
    assert basis_text(unpaired) == "means of other seeds, unpaired"
    assert unpaired.differences["clean"].interval == (None, None)


def test_what_changed_is_told_and_unlike_numbers_are_not_subtracted(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path / "a", levels=LEVELS, eps=(1 / 255,))
    make_study(tmp_path / "b", levels=(0.1,), eps=(2 / 255,), report=False)
    report, found = read(tmp_path / "a", tmp_path / "b")
    (comparison,) = report.comparisons
    assert {row.label: set(row.differences) for row in comparison.rows} == {"untouched": {"clean"}, BEST: {"clean"}}
    assert "The budgets differ." in warnings(comparison)
    assert "eval_suite.eps" in [change.path for change in comparison.changes]
    assert "robust accuracy is not compared: the budgets are 1/255 and 2/255" in found.words
    assert "Only in A: alpha=0.1 beta=1, alpha=1 beta=0.1, alpha=1 beta=1, untouched (report split)" in found.words
    assert "In 2 shared rows, A set against B, after Holm's correction over 2 comparisons: clean" in found.words


def test_a_search_is_matched_by_its_overrides_and_never_by_number(tmp_path: Path, make_study: MakeStudy) -> None:
    points = ((0.1, 0.1), (0.2, 0.3), (0.9, 0.9))
    studies = {"a": make_study(tmp_path / "a", points=points, report=False),
               "b": make_study(tmp_path / "b", points=points[::-1][:2], report=False)}  # fmt: skip
    for name, study in studies.items():
        cells = {t.cell: f"#{i}" for i, t in enumerate(t for t in study.plan if t.role == "cell")}
        plan = tuple(replace(t, cell=cells.get(t.cell, t.cell)) for t in study.plan)
        write_study(tmp_path / name, replace(study, plan=plan))
    (comparison,) = gathered(tmp_path / "a", tmp_path / "b").comparisons
    names = [where(row.first) for row in comparison.rows]
    assert names == ["untouched", "alpha=0.2 beta=0.3", "alpha=0.9 beta=0.9"]
    assert all(row.same for row in comparison.rows)
    assert [row_name(row) for row in comparison.only_first] == ["alpha=0.1 beta=0.1"]


def test_the_command_writes_one_small_file_with_its_figures(
    tmp_path: Path, make_study: MakeStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    make_study(tmp_path / "study", levels=LEVELS)
    assert main(["report", "--study", str(tmp_path / "study")]) == 0
    out = tmp_path / "study" / "report.html"
    assert capsys.readouterr().out.splitlines() == [str(out)]
    text = out.read_text(encoding="utf-8")
    assert Page(text).tags.count("img") == 2
    assert len(text) < 2_000_000
    assert not (tmp_path / "study" / "figures").exists()


def test_paper_is_no_narrow_screen(tmp_path: Path, make_study: MakeStudy) -> None:
    """A4 is narrower than the screens on which rows become cards: they do so on screens alone."""
    make_study(tmp_path, levels=LEVELS)
    text = page(gathered(tmp_path))
    assert re.findall(r"@media ([^{]*max-width[^{]*)", text) == ["screen and (max-width: 46rem) "]


def test_a_caption_keeps_its_names(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(tmp_path, levels=LEVELS)
    write_study(tmp_path, replace(study, space={}, surfaces=()))  # listed variants: an ablation
    pictures, _ = drawn(open_study(tmp_path), 1_600_000)
    assert [p.words for p in pictures if p.title == "Forest."] == [
        "Differences to the baseline row with their intervals and Holm's correction."
    ]


def test_figures_beyond_the_room_are_left_out_and_named(tmp_path: Path, make_study: MakeStudy) -> None:
    from sweeps.engine.documents.report.figures import drawn  # noqa: PLC0415 - brings matplotlib

    make_study(tmp_path, levels=LEVELS)
    pictures, left_out = drawn(open_study(tmp_path), 200_000)
    assert len(pictures) == 1
    assert "`zsr plot --kind" in left_out[0]


def test_a_folder_that_is_no_study_or_one_given_twice_is_one_line(
    tmp_path: Path, make_study: MakeStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    make_study(tmp_path / "a", levels=(0.1,), report=False)
    assert main(["report", "--study", str(tmp_path / "a"), str(tmp_path / "nope")]) == 2
    assert main(["report", "--study", str(tmp_path / "a"), str(tmp_path / "a")]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert str(tmp_path / "nope") in first
    assert "expected each study once" in second
    with pytest.raises(ConfigError):
        gather([], undrawn)


def test_the_papers_numbers_stand_beside_the_miniatures_without_a_difference(
    tmp_path: Path, make_study: MakeStudy
) -> None:
    make_study(tmp_path, levels=LEVELS)
    said = section(read(tmp_path)[1], "Beside the papers", "Figures")
    assert "TGA-ZSR" in said
    assert "56.4" in said  # its published clean mean
    assert "compare the order of the methods in each" in said
