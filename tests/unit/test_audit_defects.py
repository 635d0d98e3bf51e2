"""Planted defects, each caught by the rule that is made for it; an honestly trained classifier fails none.

The classifier is a small convolutional network with a cosine head, trained adversarially here, in about a second, on
five kinds of blobs. A defect is put into it, into the attack, or into the records; nothing else changes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zsr_core.attacks import Pgd
from zsr_core.audit.evidence import Evaluation, Evidence
from zsr_core.audit.gather import gather
from zsr_core.audit.plan import Request, Tier
from zsr_core.audit.probes.attacks import under
from zsr_core.audit.rules import RULES
from zsr_core.audit.scene import Scene
from zsr_core.audit.verdict import Verdict, judge
from zsr_core.data import ImageSet
from zsr_core.defences import Ttc
from zsr_core.evaluation.victim import DrawsOf, Victim
from zsr_core.model.tower import ImageTower
from zsr_core.text import TextBank
from zsr_core.threat import ThreatModel

CLASSES, SIDE, DIM, SCALE = 5, 16, 32, 100.0
BALL = ThreatModel(eps=8 / 255)
HEADLINE = (Pgd(steps=10, step_ratio=0.25),)
Embed = Callable[[Tensor], Tensor]


def blobs(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """uint8 [n, 3, 16, 16] and labels: a class's soft pattern at random contrast, under noise."""
    patterns = F.interpolate(torch.rand(CLASSES, 3, 4, 4, generator=torch.Generator().manual_seed(0)), SIDE)
    draws = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % CLASSES
    x = 0.5 + 0.5 * (patterns[y] - 0.5) * torch.rand(n, 1, 1, 1, generator=draws)
    x = x + 0.12 * torch.randn(n, 3, SIDE, SIDE, generator=draws)
    return (x.clamp(0, 1) * 255).to(torch.uint8), y


def network(seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1), nn.GELU(), nn.Conv2d(16, 32, 3, 2, 1), nn.GELU(), nn.Flatten(),
            nn.Linear(32 * SIDE, DIM),
        )  # fmt: skip


@pytest.fixture(scope="module")
def texts() -> TextBank:
    unit = F.normalize(torch.randn(CLASSES, DIM, generator=torch.Generator().manual_seed(0)), dim=1)
    return TextBank(unit=unit, classes=tuple("abcde"), templates=("{}",))


@pytest.fixture(scope="module")
def images() -> ImageSet:
    stored, labels = blobs(200, seed=2)
    return ImageSet(
        name="blobs", split="report", classes=tuple("abcde"), templates=("{}",), ids=[str(i) for i in range(200)],
        labels=labels, key="blobs", pixels=lambda rows: stored[torch.as_tensor(rows)], in_memory=True,
    )  # fmt: skip


def trained(texts: TextBank, seed: int, eps: float, steps: int = 150) -> nn.Module:
    """Madry's training: two steps of eps / 2 from a random start, on cross-entropy."""
    net, draws = network(seed), torch.Generator().manual_seed(seed)
    adam = torch.optim.Adam(net.parameters(), 2e-3)
    stored, labels = blobs(1000, seed=1)

    def loss(x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(SCALE * F.normalize(net(x), dim=-1) @ texts.unit.T, y)

    for _ in range(steps):
        rows = torch.randint(0, 1000, (64,), generator=draws)
        x, y = stored[rows].float() / 255, labels[rows]
        moved = x + eps * (2 * torch.rand(x.shape, generator=draws) - 1)
        for _ in range(2):
            moved.requires_grad_()
            (grad,) = torch.autograd.grad(loss(moved, y), moved)
            moved = (moved.detach() + eps / 2 * grad.sign()).clamp(x - eps, x + eps).clamp(0, 1)
        adam.zero_grad()
        loss(moved, y).backward()
        adam.step()
    return net.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def robust(texts: TextBank) -> nn.Module:
    return trained(texts, 0, BALL.eps)


def scene(embed: Embed, images: ImageSet, texts: TextBank, *, scale: float = SCALE, n: int = 200) -> Scene:
    return Scene(victim=Victim(embed=embed, scale=scale, sha="weights"), tasks=((images, texts),), threat=BALL).cut(n)


def verdicts(seen: Scene, *only: str, attacks: Sequence[Pgd] = HEADLINE, tier: Tier = "full") -> dict[str, Verdict]:
    """Evaluate, gather what these rules need, judge."""
    evaluation = Evaluation(attacks=tuple(attacks), records=tuple(r for a in attacks for r in under(seen, a)))
    evidence = gather(seen, evaluation, Request(tier=tier, rules=only or tuple(RULES)))
    return {v.rule: v for v in judge(evidence)}


@pytest.mark.slow
def test_an_adversarially_trained_classifier_fails_nothing(
    robust: nn.Module, images: ImageSet, texts: TextBank
) -> None:
    quick = {f"G{i:02d}" for i in (*range(1, 12), 13, 14, 15, 23, 24, 25)}  # the slow test asks the others too
    by_rule = verdicts(scene(robust, images, texts, n=40), *quick)
    assert {rule: v.figure for rule, v in by_rule.items() if v.status == "FAIL"} == {}
    assert {rule for rule, v in by_rule.items() if v.status == "PASS"} >= {f"G{i:02d}" for i in (1, 2, 3, 4, 7, 8, 11)}


@pytest.mark.slow
def test_an_adversarially_trained_classifier_passes_the_whole_audit(
    robust: nn.Module, images: ImageSet, texts: TextBank
) -> None:
    bare = trained(texts, 1, 0.0)
    seen = scene(robust, images, texts, n=100)
    others = {"untouched": Victim(embed=bare, scale=SCALE, sha="bare")}
    by_rule = verdicts(replace(seen, victim=replace(seen.victim, others=others)))
    assert {rule: v.figure for rule, v in by_rule.items() if v.status == "FAIL"} == {}
    assert {rule for rule, v in by_rule.items() if v.status == "SKIP"} == {"G22"}, "there is no baseline"


def test_rounding_in_the_forward_pass_kills_the_gradient(robust: nn.Module, images: ImageSet, texts: TextBank) -> None:
    by_rule = verdicts(scene(lambda x: robust((8 * x).round() / 8), images, texts, n=32), "G03", "G04")
    assert by_rule["G03"].status == "FAIL"
    assert by_rule["G04"].status == "FAIL"
    assert "32 zero" in by_rule["G04"].figure


def test_an_input_quantised_behind_a_straight_gradient_is_found_out(
    robust: nn.Module, images: ImageSet, texts: TextBank
) -> None:
    def quantised(x: Tensor) -> Tensor:
        return robust(x + ((32 * x).round() / 32 - x).detach())

    by_rule = verdicts(scene(quantised, images, texts, n=32), "G03", "G04")
    assert by_rule["G04"].status == "PASS"  # there is a gradient; it is that of another function
    assert by_rule["G03"].status == "FAIL"


def test_logits_a_thousand_times_as_large_saturate_cross_entropy(
    robust: nn.Module, images: ImageSet, texts: TextBank
) -> None:
    by_rule = verdicts(scene(robust, images, texts, scale=1000 * SCALE, n=80), "G04", "G06")
    assert by_rule["G06"].status == "FAIL", by_rule["G06"].figure
    assert by_rule["G04"].status == "FAIL", by_rule["G04"].figure


class Softmaxed(Victim):
    """A classifier whose outputs are probabilities."""

    def logits(self, x: Tensor, text: TextBank, draws: DrawsOf | None = None) -> Tensor:
        return super().logits(x, text, draws).softmax(dim=1)


def test_probabilities_are_no_logits(robust: nn.Module, images: ImageSet, texts: TextBank) -> None:
    seen = scene(robust, images, texts, n=16)
    by_rule = verdicts(replace(seen, victim=Softmaxed(embed=robust, scale=SCALE, sha="weights")), "G01")
    assert by_rule["G01"].status == "FAIL"


def test_dropout_left_on_is_randomness(robust: nn.Module, images: ImageSet, texts: TextBank) -> None:
    dropout = nn.Dropout(0.05)
    with torch.random.fork_rng(devices=[]):
        by_rule = verdicts(scene(lambda x: dropout(robust(x)), images, texts, n=16), "G02")
    assert by_rule["G02"].status == "FAIL"


def test_answers_that_depend_on_the_neighbours_are_randomness(
    robust: nn.Module, images: ImageSet, texts: TextBank
) -> None:
    def normed(x: Tensor) -> Tensor:
        """Batch norm left in training mode: its statistics know nothing of the batch's order."""
        raw = robust(x)
        return (raw - raw.mean(0)) / raw.std(0, unbiased=False).clamp(min=1e-5)

    by_rule = verdicts(scene(normed, images, texts, n=17), "G02")
    assert by_rule["G02"].status == "FAIL", by_rule["G02"].figure


def test_a_gradient_that_is_wrong_around_the_images_alone_is_found_out(
    robust: nn.Module, images: ImageSet, texts: TextBank
) -> None:
    decoy = network(9).requires_grad_(False)

    def gated(x: Tensor) -> Tensor:
        """What is on the 8-bit grid, as files are, gets the true gradient; what an attack made, another network's."""
        whole = (x * 255 - (x * 255).round()).abs().flatten(1).amax(dim=1) < 0.3
        away = decoy(x)
        return torch.where(whole[:, None], robust(x), robust(x).detach() + away - away.detach())

    by_rule = verdicts(scene(gated, images, texts, n=32), "G03", "G04")
    assert by_rule["G04"].status == "PASS"
    assert by_rule["G03"].status == "FAIL", by_rule["G03"].figure
    assert "% within the ball" in by_rule["G03"].figure


def test_a_classifier_that_detaches_its_images_fails_and_stops_no_attack(
    robust: nn.Module, images: ImageSet, texts: TextBank
) -> None:
    def detached(x: Tensor) -> Tensor:
        return robust(x.detach())

    def learning(x: Tensor) -> Tensor:
        """The same where weights take gradients, so that the logits have a graph, which misses the image."""
        return robust(x.detach()) * torch.ones((), requires_grad=True)

    for embed in (detached, learning):
        by_rule = verdicts(scene(embed, images, texts, n=16), tier="cheap")
        assert (by_rule["G03"].status, by_rule["G04"].status) == ("FAIL", "FAIL")
        assert by_rule["G07"].status == "PASS", "the attack ran, and by_rule what its random start by_rule"


def test_preprocessing_without_its_gradient_is_found_out(robust: nn.Module, images: ImageSet, texts: TextBank) -> None:
    def blurred(x: Tensor) -> Tensor:
        return robust((0.5 * x + 0.5 * F.avg_pool2d(x, 3, 1, 1)).detach() + 0 * x)

    def centred(x: Tensor) -> Tensor:
        return robust(x - x.mean(dim=(1, 2, 3), keepdim=True).detach() + 0.5)

    by_rule = verdicts(scene(blurred, images, texts, n=16), "G03")
    assert by_rule["G03"].status == "FAIL"
    by_rule = verdicts(scene(centred, images, texts, n=64), "G03")
    assert by_rule["G03"].status == "FAIL", by_rule["G03"].figure


def test_the_last_of_steps_twice_the_ball_is_not_the_best(robust: nn.Module, images: ImageSet, texts: TextBank) -> None:
    def rippled(x: Tensor) -> Tensor:
        """A loss with hills as wide as one and a half balls, which such steps jump over."""
        return robust(x + BALL.eps * torch.sin(2 * torch.pi * x / (3 * BALL.eps)))

    last = (Pgd(steps=10, step_ratio=2.0, keep="last"),)
    by_rule = verdicts(scene(rippled, images, texts, n=60), "G10", "G11", attacks=last)
    assert by_rule["G10"].status == "FAIL", by_rule["G10"].figure
    assert by_rule["G11"].status == "FAIL", by_rule["G11"].figure
    best = (Pgd(steps=10, step_ratio=0.25),)
    by_rule = verdicts(scene(rippled, images, texts, n=60), "G10", "G11", attacks=best)
    assert by_rule["G10"].status != "FAIL", by_rule["G10"].figure
    assert by_rule["G11"].status == "PASS", by_rule["G11"].figure


def masking(texts: TextBank) -> Victim:
    """A saturated softmax over the texts: the image picks one of them, and its gradient does not know how.

    What does reach the input is another network's small share, which leads nowhere.
    """
    vulnerable, decoy = trained(texts, 0, 0.0, steps=60), network(9).requires_grad_(False)

    def attending(x: Tensor) -> Tensor:
        attention = (3000 * F.normalize(vulnerable(x), dim=-1) @ texts.unit.T).softmax(dim=-1)
        return attention @ texts.unit + 0.1 * F.normalize(decoy(x), dim=-1)

    bare = Victim(embed=vulnerable, scale=SCALE, sha="bare")
    return Victim(embed=attending, scale=SCALE, sha="weights", others={"untouched": bare})


@pytest.mark.slow
def test_an_attention_head_that_masks_falls_to_transferred_examples(images: ImageSet, texts: TextBank) -> None:
    victim = masking(texts)
    by_rule = verdicts(replace(scene(victim.embed, images, texts, n=24), victim=victim), "G03", "G04", "G18")
    assert by_rule["G03"].status == by_rule["G04"].status == "PASS", "it hides from these"
    assert by_rule["G18"].status == "FAIL", by_rule["G18"].figure


@pytest.mark.slow
def test_an_attention_head_that_masks_falls_to_every_other_attack(images: ImageSet, texts: TextBank) -> None:
    victim = masking(texts)
    asked = ("G16", "G17", "G18", "G19")
    by_rule = verdicts(replace(scene(victim.embed, images, texts, n=100), victim=victim), *asked)
    # DLR finds what cross-entropy does not, so that AutoAttack's gradients leave Square nothing to add.
    assert [by_rule[rule].status for rule in asked] == ["FAIL", "PASS", "FAIL", "FAIL"]


def identity(evidence: Evidence) -> Verdict:
    return next(verdict for verdict in judge(evidence) if verdict.rule == "G25")


def test_columns_of_two_checkpoints_are_no_row(robust: nn.Module, images: ImageSet, texts: TextBank) -> None:
    seen = scene(robust, images, texts, n=32)
    whole = Evaluation(attacks=HEADLINE, records=tuple(under(seen, HEADLINE[0])))
    other = (replace(r, weights_sha="other") if r.condition != "none" else r for r in whole.records)
    assert identity(gather(seen, whole, Request(tier="none"))).status == "PASS"
    verdict = identity(gather(seen, replace(whole, records=tuple(other)), Request(tier="none")))
    assert (verdict.rule, verdict.status) == ("G25", "FAIL")
    assert verdict.figure == "weights: clean; other: pgd10"


def test_weights_that_answer_otherwise_than_the_records_are_other_weights(
    robust: nn.Module, images: ImageSet, texts: TextBank
) -> None:
    seen = scene(robust, images, texts, n=64)
    evaluation = Evaluation(attacks=HEADLINE, records=tuple(under(seen, HEADLINE[0])))
    shuffled = replace(seen, victim=replace(seen.victim, embed=network(5).requires_grad_(False)))
    verdict = identity(gather(shuffled, evaluation, Request(tier="cheap", rules=("G25",))))
    assert (verdict.rule, verdict.status) == ("G25", "FAIL")
    assert "answers differ" in verdict.figure


def test_a_randomised_defence_needs_eot(images: ImageSet, texts: TextBank, robust: nn.Module) -> None:
    tower = ImageTower.__new__(ImageTower)  # Ttc asks its towers for embeddings alone
    nn.Module.__init__(tower)
    tower.forward = robust.forward  # type: ignore[method-assign]
    asked = Request(tier="cheap", rules=("G02", "G11"))
    for samples, status in ((0, "FAIL"), (2, "WARN")):
        defence = Ttc(attack_samples=samples)
        victim = Victim(
            embed=tower, scale=SCALE, sha="weights", defended=defence.defended(tower, tower), attack_samples=samples
        )
        seen = replace(scene(robust, images, texts, n=16), victim=victim)
        by_rule = {v.rule: v for v in judge(gather(seen, Evaluation(attacks=HEADLINE), asked))}
        assert by_rule["G02"].status == status
        assert "EOT" in by_rule["G02"].advice + by_rule["G02"].figure
        assert by_rule["G11"].status == "SKIP"


def test_a_rule_without_evidence_is_skipped_and_never_passes() -> None:
    by_rule = {v.rule: v for v in judge(Evidence(threat=BALL, n=1))}
    assert {v.status for rule, v in by_rule.items() if rule != "G05"} == {"SKIP"}
    assert all(v.figure and v.advice for v in by_rule.values() if v.status == "SKIP")
