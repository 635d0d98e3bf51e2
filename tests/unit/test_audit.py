"""The audit around its rules: what is gathered and planned, what a report keeps, how a study is asked."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from sweeps.engine.commands.main import main
from sweeps.engine.running.audit import baseline, row_of, siblings, wanted
from sweeps.engine.running.jobs import perform
from sweeps.engine.study.folder import Study, StudyFolder, open_study, trial_folder
from sweeps.engine.tracking.entries import result_tags
from zsr_core.attacks import AutoAttack, Draws, Pgd, Square, Target
from zsr_core.audit import report as core
from zsr_core.audit.evidence import Evaluation, Probe, Run
from zsr_core.audit.facts import Row, Seen, Surface, SurfacePoint, Watched, still_moving
from zsr_core.audit.gather import gather
from zsr_core.audit.plan import Request, Tier, affordable, plan_lines, spent, steps
from zsr_core.audit.probes.attacks import under
from zsr_core.audit.probes.watch import watch
from zsr_core.audit.rules import RULES
from zsr_core.audit.scene import Scene, first
from zsr_core.audit.verdict import Verdict, judge
from zsr_core.codec import ConfigError, to_plain
from zsr_core.evaluation.measure import Measurement
from zsr_core.evaluation.victim import Victim
from zsr_core.methods import TeCoA
from zsr_core.records import SampleRecord
from zsr_core.threat import ThreatModel
from zsr_core.trial.result import TrialResult

MakeStudy = Callable[..., Study]
BALL = ThreatModel(eps=8 / 255)
HEADLINE = (Pgd(steps=3),)
CHEAP, FULL = Request(tier="cheap"), Request(tier="full")


def report(tier: Tier = "cheap", sha: str = "weights", **statuses: str) -> core.Report:
    verdicts = tuple(
        Verdict(rule=rule, status=statuses.get(rule, "SKIP"), figure=tier, advice="Look.")  # type: ignore[arg-type]
        for rule in RULES
    )
    return core.Report(
        trial_id="t", weights_sha=sha, norm="linf", eps=1 / 255, tier=tier, images=8, passes=9, verdicts=verdicts
    )


def attacked(*, correct: bool, linf: float) -> SampleRecord:
    return SampleRecord(
        trial_id="t", weights_sha="w", task="a", split="report", sample_id="0", condition="pgd3", attack_id="", ran="",
        stage="", norm="linf", threat_space="model_input", eps=0.01, label=0, pred=0, correct=correct, p_max=0.5,
        entropy=0.1, margin=0.1, linf=linf, l2=linf, queries=1,
    )  # fmt: skip


@pytest.fixture
def scene(tiny: type) -> Scene:
    tower = tiny.tower()
    return Scene(
        victim=Victim(embed=tower, scale=20.0, sha="weights"), threat=BALL,
        tasks=((tiny.images(7, name="a"), tiny.bank()), (tiny.images(3, name="b"), tiny.bank())),
    )  # fmt: skip


@pytest.mark.parametrize(("n", "kept"), [(0, []), (1, [1]), (4, [2, 2]), (8, [5, 3]), (99, [7, 3])])
def test_a_cut_takes_the_first_images_of_every_task_as_evenly_as_they_come(
    scene: Scene, n: int, kept: list[int]
) -> None:
    cut = scene.cut(n)
    assert [len(images.labels) for images, _ in cut.tasks] == kept
    assert all(
        images.ids == whole.ids[: len(images.ids)]
        for (images, _), (whole, _) in zip(cut.tasks, scene.tasks, strict=False)
    )


def test_some_images_are_the_same_images(scene: Scene) -> None:
    whole = next(scene.batches())[0]
    kept = scene.keep({("a", "a/2"), ("a", "a/5")})
    x, y, ids, _ = next(kept.batches())
    assert ids == ["a/2", "a/5"]
    assert torch.equal(x, whole[[2, 5]])
    assert y.tolist() == [2, 0]
    assert first(scene.tasks[0][0], 2).ids == ("a/0", "a/1")


def test_every_rule_that_a_probe_can_decide_is_named_by_a_step_of_the_full_tier(scene: Scene) -> None:
    full = {rule for step in steps(scene, HEADLINE, FULL) for rule in step.rules}
    others = replace(scene.victim, others={"untouched": scene.victim})
    full |= {rule for step in steps(replace(scene, victim=others), HEADLINE, FULL) for rule in step.rules}
    low = replace(FULL, autocast="bfloat16")
    full |= {rule for step in steps(scene, HEADLINE, low) for rule in step.rules}
    assert set(RULES) - full == {"G22"}  # a baseline is a study's matter


def test_the_text_of_a_run_names_its_setting() -> None:
    assert Run(probe=Probe.PGD50).text == "pgd50"
    assert Run(probe=Probe.BUDGET, setting=8 / 255).text == "eps 0.0313725"
    assert Run(probe=Probe.TRANSFER, setting="untouched").text == "transfer untouched"
    assert len({probe.value for probe in Probe}) == len(Probe), "two probes of one text would be one probe"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"tier": "deep"}, "tier: unknown value 'deep'"),
        ({"rules": ("G99",)}, "rule: unknown value 'G99'"),
        ({"images": 0}, "images: got 0"),
        ({"eps": 0.0}, "eps: got 0.0"),
    ],
)
def test_a_request_for_what_there_is_not_is_refused(fields: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Request(**{"tier": "cheap", **fields})  # type: ignore[arg-type]


def test_examples_made_on_the_classifier_itself_are_no_transferred_ones(scene: Scene) -> None:
    twin = replace(scene.victim, embed=lambda x: scene.victim.embed(x))
    itself = replace(scene, victim=replace(scene.victim, others={"untouched": twin}))
    asked, evaluation = Request(tier="full", rules=("G18",)), Evaluation(attacks=HEADLINE)
    by_rule = {v.rule: v for v in judge(gather(itself, evaluation, asked))}
    assert by_rule["G18"].status == "SKIP"
    other = replace(scene, victim=replace(scene.victim, others={"untouched": replace(twin, sha="other")}))
    by_rule = {v.rule: v for v in judge(gather(other, evaluation, asked))}
    assert by_rule["G18"].status != "SKIP"


def test_a_declared_cost_is_what_the_probe_takes_at_most(scene: Scene) -> None:
    seen = {"forwards": 0}

    def counted(x: torch.Tensor) -> torch.Tensor:
        seen["forwards"] += len(x)
        return scene.victim.embed(x)

    watched = replace(scene, victim=replace(scene.victim, embed=counted))
    for step in steps(watched, HEADLINE, CHEAP):
        seen["forwards"] = 0
        asked = replace(CHEAP, rules=tuple(r for r in step.rules if r != "G25"))
        gather(watched, Evaluation(attacks=HEADLINE), asked)
        assert 0 < seen["forwards"] <= step.forwards * scene.n, step.run.text
    assert "10 images" in plan_lines(scene, HEADLINE, CHEAP)[-1]


def test_the_cheap_tier_takes_at_most_its_share_of_what_the_evaluation_took(scene: Scene) -> None:
    records = [replace(r, queries=40) for r in under(scene, HEADLINE[0])]
    assert spent(records) == 20 * 80 - 10 * 79  # ten clean passes, ten images of forty questions there and back
    each = sum(step.passes(1) for step in steps(scene, HEADLINE, CHEAP))
    assert affordable(scene, HEADLINE, records) == int(0.2 * spent(records)) // each
    assert affordable(scene, HEADLINE, []) == 0


def test_a_watched_attack_is_the_attack_and_every_image_it_faced_is_seen(scene: Scene) -> None:
    plain, watched = under(scene, HEADLINE[0]), watch(scene, HEADLINE[0])
    same = [(r.condition, r.sample_id, r.pred, r.margin, r.linf) for r in plain]
    assert same == [(r.condition, r.sample_id, r.pred, r.margin, r.linf) for r in watched.records]
    assert len(watched.attacked) == sum(r.correct for r in plain if r.condition == "none")
    assert all(seen.broken for record, seen in watched.attacked if not record.correct)


def mark(image: torch.Tensor) -> int:
    """A number from 1 to 97 that tells the images of the fixture apart."""
    return 1 + int((255 * image).round().sum()) % 97


@dataclass(frozen=True, kw_only=True)
class Marking:
    """An attack that asks as often about an image as its mark says, and is slow on the batch of the image ``slow``."""

    slow: int
    name: str = "marking"

    def stages(self, classes: int) -> tuple[Marking, ...]:
        return (self,)

    def cost(self, classes: int) -> tuple[int, int]:
        return 97, 0

    def run(self, target: Target, x: torch.Tensor, threat: ThreatModel, draws: Draws) -> torch.Tensor:
        marks = [mark(image) for image in x]
        time.sleep(0.2 if self.slow in marks else 0.0)
        for row, asked in enumerate(marks):
            for _ in range(asked):
                target.ask(x[row : row + 1], torch.tensor([row]))
        return x


def test_what_is_seen_of_an_image_is_its_own_also_where_batches_end_in_another_order(scene: Scene) -> None:
    images, bank = scene.tasks[0]
    pixels = images.pixels(range(7)).float() / 255
    right = replace(images, labels=scene.victim.logits(pixels, bank).argmax(dim=1))
    again = replace(right, name="again", pixels=lambda rows: images.pixels([6 - int(i) for i in rows]))
    both = replace(scene, tasks=((right, bank), (again, bank)), batch_size=4)  # the same ids are of other images
    marks = [mark(image) for image in pixels]
    assert len(set(marks)) == 7
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        watched = watch(both, Marking(slow=marks[0]))
    finally:
        torch.set_num_threads(before)
    assert [(r.task, r.sample_id) for r, _ in watched.attacked] == [(t, i) for t in ("a", "again") for i in images.ids]
    assert [len(seen.losses) for _, seen in watched.attacked] == [*marks, *reversed(marks)]


def test_an_image_that_comes_back_otherwise_is_noticed() -> None:
    def faced(correct: bool, lead: float, rounded: float) -> tuple[SampleRecord, Seen]:
        return attacked(correct=correct, linf=0.01), Seen(lead=lead, lead_rounded=rounded)

    watched = Watched(records=(), attacked=(faced(True, -0.2, -0.2), faced(True, 0.2, 0.2), faced(False, 0.2, -0.1)))
    checked = watched.feasibility(ThreatModel(eps=0.01), n=4)
    assert (checked.n, checked.excess, checked.changed, checked.rounded) == (4, 0.0, 1, 25.0)


def test_a_loss_still_moves_if_its_best_rose_by_a_twentieth_of_its_range_in_ten_steps() -> None:
    assert still_moving([0.0] * 10 + [1.0])
    assert not still_moving([0.0, 1.0] + [1.0] * 10)
    assert not still_moving([0.0, 1.0] + [1.04] * 10)
    assert not still_moving([0.0, 1.0])  # too short to tell
    assert not still_moving([1.0] * 20)


def test_a_later_audit_keeps_what_only_an_earlier_one_tested() -> None:
    full = report("full", G01="PASS", G17="WARN")
    kept = core.joined(full, report("cheap", G01="FAIL"))
    assert kept.statuses["G01"] == "FAIL"
    assert kept.statuses["G17"] == "WARN"
    assert kept.tier == "full"
    other = core.joined(full, report("cheap", sha="other", G01="PASS"))
    assert other.statuses["G17"] == "SKIP"


def test_a_report_survives_the_disk_and_a_torn_one_is_named(tmp_path: Path) -> None:
    points = tuple(SurfacePoint(task="a", sample_id="0", a=a, b=0.0, loss=a) for a in (-1.0, 1.0))
    core.write_report(tmp_path, report(G01="PASS"), Surface(points=points, error=0.1, n=1))
    assert core.read_report(tmp_path) == report(G01="PASS")
    assert pq.read_table(tmp_path / "surface.parquet").column("loss").to_pylist() == [-1.0, 1.0]
    (tmp_path / "audit.json").write_text("{")
    with pytest.raises(ConfigError, match=r"audit\.json is not JSON"):
        core.read_report(tmp_path)


WRITTEN_BEFORE = """{
 "type": "Report", "trial_id": "0123456789ab", "weights_sha": "w", "norm": "linf", "eps": 0.00392156862745098,
 "tier": "cheap", "images": 60, "passes": 1234,
 "verdicts": [
  {"type": "Verdict", "rule": "G04", "status": "PASS", "figure": "0 zero and 0 non-finite gradients of 60",
   "advice": ""},
  {"type": "Verdict", "rule": "G05", "status": "SKIP", "figure": "not probed: pgd50, bfloat16",
   "advice": "Run the full tier: zsr audit --tier full."}
 ],
 "schema": 1
}"""


def test_an_audit_that_an_earlier_version_wrote_is_still_read(tmp_path: Path) -> None:
    (tmp_path / "audit.json").write_text(WRITTEN_BEFORE)
    kept = core.read_report(tmp_path)
    assert kept is not None
    assert kept.statuses == {"G04": "PASS", "G05": "SKIP"}
    assert json.loads(json.dumps(to_plain(kept))) == json.loads(WRITTEN_BEFORE), "and written as it was"


def test_the_lines_of_a_report_say_what_to_do_about_what_is_wrong() -> None:
    lines = core.report_lines(report(G01="PASS", G17="FAIL"))
    assert len(lines) == 1 + len(RULES) + 1
    assert lines[17].startswith("  G17  FAIL")
    assert "Square" in lines[18]
    assert lines[18].endswith("Look.")


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--trial", "0123"], "--trial: no finished trial is called '0123'"),
        (["--images", "0"], "--images: got '0'"),
        (["--rules", "G99"], "--rules: unknown value 'G99'"),
        (["--trial", "untouched"], "weights: got"),  # these made-up results say of no weights that they measured them
    ],
)
def test_a_request_that_cannot_be_met_is_one_line(
    tmp_path: Path, make_study: MakeStudy, capsys: pytest.CaptureFixture[str], flags: list[str], says: str
) -> None:
    make_study(tmp_path, levels=(0.1,))
    assert main(["audit", "--study", str(tmp_path), *flags]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"zsr audit: {says}")
    assert err.count("\n") == 1


def test_without_a_name_the_end_of_the_study_is_audited(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(tmp_path, levels=(0.1, 1.0))
    folder = open_study(tmp_path)
    assert {t.overrides["eval_suite.split"] for t in wanted(folder, "")} == {"report"}
    cell = next(t for t in study.plan if t.role == "cell")
    assert wanted(folder, cell.trial_id[:6]) == [cell]
    assert cell in wanted(folder, cell.label)


def with_attacks(result: TrialResult, **values: float) -> TrialResult:
    """The result as if its suite had held Square too: clean, PGD and worst-case zero-shot means in percent."""
    suite = replace(result.config.eval_suite, attacks=(Pgd(steps=10), Square()))
    config = replace(result.config, eval_suite=suite)
    keys = {"clean": ("clean", "none", 0.0), "pgd": ("robust", "pgd10", 1 / 255), "worst": ("robust", "worst", 1 / 255)}
    measurements = tuple(
        Measurement(
            trial_id="t",
            weights_sha="w",
            task="zero_shot_mean",
            split="report",
            attack=attack,
            eps=eps,
            metric=metric,
            value=values[name],
            n=9,
            low=None,
            high=None,
        )
        for name, (metric, attack, eps) in keys.items()
    )
    return replace(result, config=config, measurements=measurements)


def test_the_baseline_is_the_studys_tecoa_measured_alike_under_more_than_pgd(
    tmp_path: Path, make_study: MakeStudy
) -> None:
    study = make_study(tmp_path, levels=(0.1, 1.0))
    results = dict(open_study(tmp_path).results)
    folder = StudyFolder(path=tmp_path, study=study, results=results)
    final, other = study.plan[-1], study.plan[1]
    assert row_of(results[final.trial_id], 1 / 255) is None, "PGD alone confirms no gain"
    results[final.trial_id] = with_attacks(results[final.trial_id], clean=55.4, pgd=44.5, worst=31.4)
    assert baseline(folder, final) is None, "there is no TeCoA"
    tecoa = replace(results[final.trial_id], config=replace(results[final.trial_id].config, method=TeCoA()))
    results[other.trial_id] = with_attacks(tecoa, clean=46.7, pgd=30.7, worst=31.0)
    assert row_of(results[final.trial_id], 1 / 255) == Row(clean=55.4, pgd=44.5, worst=31.4)
    assert baseline(folder, final) == Row(clean=46.7, pgd=30.7, worst=31.0)


def test_siblings_are_trials_trained_otherwise(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(tmp_path, levels=(0.1, 1.0))
    folder = open_study(tmp_path)
    final = study.plan[-1]
    mine = folder.results[final.trial_id].config.training_id
    found = siblings(folder, final)
    assert len(found) == 2
    assert len({config.training_id for config in found} | {mine}) == 3


def test_an_audit_that_breaks_costs_no_result_and_says_why(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(tmp_path, levels=(0.1,))
    untouched = next(t for t in study.plan if t.role == "baseline" and t.is_report)
    before = open_study(tmp_path).results[untouched.trial_id]
    config = study.config(untouched)  # its numbers name no weights
    perform([config], tmp_path, lambda *_: None, score_eps=study.score_eps, device="cpu")
    after = open_study(tmp_path).results[untouched.trial_id]
    assert after.measurements == before.measurements
    assert set(after.audit.values()) == {"SKIP"}
    report = core.read_report(trial_folder(tmp_path, untouched.trial_id))
    assert report is not None
    assert report.verdicts[0].figure.startswith("the audit stopped: ConfigError: weights: got")


def test_a_tracked_run_says_its_gravest_verdict_and_each(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(tmp_path, levels=(0.1,))
    trial, result = study.plan[1], open_study(tmp_path).results[study.plan[1].trial_id]
    audited = replace(result, audit={"G01": "PASS", "G09": "WARN", "G22": "SKIP"})
    tags = result_tags(study, trial, audited, tmp_path)
    assert (tags["audit"], tags["audit.G01"]) == ("WARN", "PASS")
    assert "audit" not in result_tags(study, trial, result, tmp_path)


def test_what_the_evaluation_ran_of_autoattack_is_judged_from_its_records(scene: Scene) -> None:
    suite = (Pgd(steps=10), AutoAttack())

    def outcome(attack: str, i: int, correct: bool, stage: str = "") -> SampleRecord:
        made = attacked(correct=correct, linf=BALL.eps)
        ran = "apgd-ce+square" if attack == "aa-standard" else attack
        return replace(made, condition=attack, sample_id=str(i), eps=BALL.eps, stage=stage, ran=ran)

    # Of 100 images PGD leaves 40; AutoAttack's gradients take 10 of them, its Square 3 more.
    records = [outcome("pgd10", i, i < 40) for i in range(100)]
    records += [outcome("aa-standard", i, i < 27, "square" if 27 <= i < 30 else "apgd-ce") for i in range(100)]
    evaluation = Evaluation(attacks=suite, records=tuple(records))
    by_rule = {v.rule: v for v in judge(gather(scene, evaluation, Request(tier="none")))}
    assert by_rule["G19"].figure == "PGD 40.00 %, AutoAttack 27.00 % of 100 images: 13.00 points (32.5 %)"
    assert by_rule["G19"].status == "FAIL"
    assert by_rule["G17"].figure == "square breaks 3 of 100 images that every white-box attack leaves standing (3.00 %)"
    assert by_rule["G17"].status == "FAIL"
    assert by_rule["G20"].status == "PASS"
    assert by_rule["G21"].status == "SKIP"
    probing = [step.run.text for step in steps(scene, suite, FULL)]
    assert "autoattack" not in probing, "it has run already"


def test_only_the_rules_that_are_asked_are_judged(scene: Scene) -> None:
    evaluation = Evaluation(attacks=HEADLINE, records=tuple(under(scene, HEADLINE[0])))
    kept, _ = core.audit(scene, evaluation, replace(CHEAP, rules=("G04",)))
    assert {rule for rule, status in kept.statuses.items() if status != "SKIP"} == {"G04"}
