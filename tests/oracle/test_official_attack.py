"""The official AutoAttack as an attack of ours: what it gives, what it leaves alone, and what it is compared with."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

import pytest
import torch
from pyautoattack import AutoAttack as Official
from torch import Tensor

from zsr_core.attacks import AutoAttack, OfficialAutoAttack, Target
from zsr_core.attacks.official import OfficialStage
from zsr_core.audit.evidence import Evaluation, Probe, Run
from zsr_core.audit.gather import gather, recorded
from zsr_core.audit.outcomes import Outcomes
from zsr_core.audit.plan import OFFICIAL_IMAGES, Request, steps
from zsr_core.audit.probes.attacks import under
from zsr_core.audit.rules.official import g26_official
from zsr_core.audit.scene import Scene
from zsr_core.audit.verdict import judge
from zsr_core.codec import ConfigError, from_plain, to_plain
from zsr_core.data import DataRef, open_data
from zsr_core.evaluation.predict import predict
from zsr_core.evaluation.suite import EvalSuite
from zsr_core.evaluation.victim import Victim
from zsr_core.methods import TeCoA
from zsr_core.model.load import load_clip
from zsr_core.records import SampleRecord
from zsr_core.rng import generator
from zsr_core.text import encode_classes
from zsr_core.threat import ThreatModel
from zsr_core.trial import presets

N, SIDE, CLASSES = 8, 8, 6
EPS = {"linf": 0.01, "l2": 0.4}
Norms = Literal["linf", "l2"]
QUICK = OfficialAutoAttack(steps=5, queries=20)


def draws(purpose: str, rows: Tensor) -> list[torch.Generator]:
    return [generator(0, purpose, row) for row in rows.tolist()]


def problem(classes: int = CLASSES) -> tuple[Callable[[Tensor], Tensor], Tensor, Tensor]:
    """A linear classifier and images that it gets right by different margins."""
    weight = torch.randn(3 * SIDE * SIDE, classes, generator=generator(0, "weight"))
    x = torch.rand(N, 3, SIDE, SIDE, generator=generator(0, "x"))

    def net(images: Tensor) -> Tensor:
        return (images - 0.5).flatten(1) @ weight

    return net, x, net(x).argmax(dim=1)


def target(net: Callable[[Tensor], Tensor], y: Tensor, classes: int = CLASSES, asked: Tensor | None = None) -> Target:
    def ask(x: Tensor, rows: Tensor) -> Tensor:
        if asked is not None:
            asked.index_add_(0, rows, torch.ones_like(rows))
        return net(x)[None]

    return Target(ask=ask, labels=y, classes=classes)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("part", ["apgd-ce", "apgd-t", "fab-t", "square"])
def test_a_stage_gives_the_images_of_the_official_code_to_the_last_bit(norm: Norms, part: Any) -> None:
    net, x, y = problem()
    stage = OfficialStage(part=part, steps=5, queries=20)
    x_adv = stage.run(target(net, y), x, ThreatModel(norm=norm, eps=EPS[norm]), draws)
    seed = int(torch.randint(2**31 - 1, (1,), generator=draws("official", torch.arange(N))[0]))
    with torch.random.fork_rng(devices=[]):
        official = Official(
            net, eps=EPS[norm], norm={"linf": "Linf", "l2": "L2"}[norm], seed=seed, version="custom", attacks=[part]
        )
        official.apgd.n_restarts = official.fab.n_restarts = 1
        official.apgd_targeted.n_target_classes = official.fab.n_target_classes = CLASSES - 1
        official.apgd.n_iter = official.apgd_targeted.n_iter = official.fab.n_iter = 5
        official.square.n_queries = 20
        theirs, _ = official.run_standard_evaluation(x, y, batch_size=N)
    assert torch.equal(x_adv, theirs)
    assert (net(x_adv).argmax(dim=1) != y).sum() > 0


def test_it_leaves_the_global_generator_the_trace_function_and_the_logger_as_they_were() -> None:
    net, x, y = problem()

    def trace(*_: object) -> None:
        return None

    before, state = sys.gettrace(), torch.random.get_rng_state()
    sys.settrace(trace)
    try:
        QUICK.run(target(net, y), x, ThreatModel(eps=0.01), draws)
        kept = sys.gettrace()
    finally:
        sys.settrace(before)
    assert kept is trace
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not logging.getLogger("auto-attack").disabled


@pytest.mark.parametrize("classes", [2, 3, 4, 12])
def test_its_declared_cost_is_what_an_image_takes_that_never_falls(classes: int) -> None:
    net, x, y = problem(classes)
    for stage in QUICK.stages(classes):
        asked = torch.zeros(N, dtype=torch.int64)
        x_adv = stage.run(target(net, y, classes, asked), x, ThreatModel(eps=1e-7), draws)
        assert torch.equal(net(x_adv).argmax(dim=1), y)
        assert asked.tolist() == [stage.cost(classes)[0]] * N, stage.name


def test_few_classes_get_the_parts_that_can_face_them() -> None:
    named = {c: [stage.name for stage in OfficialAutoAttack().stages(c)] for c in (2, 3, 4)}
    assert named == {
        2: ["official-apgd-ce", "official-fab-t", "official-square"],
        3: ["official-apgd-ce", "official-apgd-dlr", "official-fab-t", "official-square"],
        4: ["official-apgd-ce", "official-apgd-t", "official-fab-t", "official-square"],
    }
    assert [OfficialAutoAttack().name, QUICK.name] == ["aa-official", "aa-official-5-20"]
    with pytest.raises(ConfigError, match="queries: got 0"):
        OfficialAutoAttack(queries=0)


def test_a_suite_with_it_survives_the_codec() -> None:
    suite = EvalSuite(attacks=(OfficialAutoAttack(),))
    assert from_plain(EvalSuite, to_plain(suite)) == suite


@pytest.fixture(scope="module")
def miniature() -> Scene:
    """The untouched miniature on 12 images of its source set, at a budget that some of them stand."""
    config = presets.miniature(TeCoA())
    clip = load_clip(config.model, "cpu")
    images = open_data(DataRef(), "report", clip.tower.image_size, 12)
    text = encode_classes(clip.encode_text, images.classes, images.templates)
    victim = Victim(embed=clip.tower.requires_grad_(False).eval(), scale=clip.scale, sha="miniature")
    return Scene(victim=victim, tasks=((images, text),), threat=ThreatModel(eps=0.2 / 255), batch_size=12)


def standing(records: Sequence[SampleRecord], name: str) -> list[bool]:
    return [r.correct for r in records if r.condition == name]


@pytest.mark.slow
@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.2 / 255), ("l2", 0.04)])
def test_on_the_miniature_it_breaks_what_our_autoattack_breaks(norm: Norms, eps: float, miniature: Scene) -> None:
    """With few queries, because Square breaks nothing more here; each draws its own noise, so one image may differ."""
    images, text = miniature.tasks[0]
    records = predict(
        miniature.victim, images, text, [OfficialAutoAttack(steps=20, queries=50), AutoAttack(version="fare")],
        [ThreatModel(norm=norm, eps=eps)],
    )  # fmt: skip
    official, ours = standing(records, "aa-official-20-50"), standing(records, "aa-fare")
    assert 0 < sum(official) < sum(standing(records, "none"))
    assert sum(a != b for a, b in zip(official, ours, strict=True)) <= 1
    mine = [r for r in records if r.condition == "aa-official-20-50"]
    assert {r.stage for r in mine if not r.correct and r.queries} <= {
        s.name for s in OfficialAutoAttack(steps=20, queries=50).stages(9)
    }
    assert all(r.queries > 0 for r in mine if r.correct)


def test_the_full_tier_runs_it_on_a_sample_of_the_images(miniature: Scene) -> None:
    todo = {step.run.probe: step for step in steps(miniature, (), Request(tier="full", rules=("G26",)))}
    assert set(todo) == {Probe.AUTOATTACK, Probe.OFFICIAL}
    assert todo[Probe.OFFICIAL].images == OFFICIAL_IMAGES
    assert steps(miniature, (OfficialAutoAttack(), AutoAttack()), Request(tier="full", rules=("G26",))) == ()
    defended = replace(miniature, victim=replace(miniature.victim, defended=lambda x, g: miniature.victim.embed(x)))
    asked = steps(defended, (), Request(tier="full", rules=("G26",)))
    assert [step.run.probe for step in asked] == [Probe.AUTOATTACK]


def outcome(*stands: bool) -> Outcomes:
    return Outcomes(name="a", standing={("task", str(i)): stand for i, stand in enumerate(stands)})


def test_agreement_is_judged_image_by_image() -> None:
    one = g26_official(outcome(*[False] * 3, *[True] * 5), outcome(*[False] * 2, *[True] * 6))
    assert one.status == "PASS"
    assert one.figure.startswith("agree on 7 of 8 images; only the official code breaks 1, only ours breaks 0")
    crossed = g26_official(outcome(False, True, True), outcome(True, False, True))
    assert crossed.status == "WARN"
    weaker = g26_official(outcome(*[False] * 8), outcome(*[True] * 8))
    assert weaker.status == "FAIL"
    stronger = g26_official(outcome(*[True] * 8), outcome(*[False] * 8))
    assert stronger.status == "WARN"


def test_what_the_evaluation_ran_itself_is_compared_without_running_it_again(miniature: Scene) -> None:
    quick = replace(miniature.cut(4), threat=ThreatModel(eps=16 / 255))  # every image falls to the first part
    attacks = (AutoAttack(), OfficialAutoAttack())
    evaluation = Evaluation(attacks=attacks, records=tuple(r for a in attacks for r in under(quick, a)))
    assert Run(probe=Probe.OFFICIAL) in recorded(evaluation, 16 / 255)
    found = {v.rule: v for v in judge(gather(quick, evaluation, Request(tier="full", rules=("G26",))))}["G26"]
    assert found.status == "PASS"
    assert found.figure.startswith("agree on 4 of 4 images")
