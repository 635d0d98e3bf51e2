"""The recipes, as whole TrialConfigs: the built-in miniature's, and the papers' with their sources."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from zsr_core import names
from zsr_core.attacks import Pgd
from zsr_core.attacks.profiles import profile
from zsr_core.codec import unknown
from zsr_core.data import DataRef
from zsr_core.data.miniature import ZERO_SHOT
from zsr_core.data.pictures import Preprocessing
from zsr_core.data.tasks import SIXTEEN, task
from zsr_core.evaluation.suite import EvalSuite
from zsr_core.methods import (
    METHODS,
    Agft,
    AnyMethod,
    Arow,
    Caw,
    CompTga,
    Fare,
    Flyp,
    FtAdv,
    FtClean,
    Laat,
    LpFt,
    Mart,
    PmgAft,
    TeCoA,
    TgaZsr,
    Trades,
    Ucat,
)
from zsr_core.model.load import ModelRef
from zsr_core.names import PromptSet, rows_of
from zsr_core.space import Variant
from zsr_core.threat import ThreatModel
from zsr_core.training.optim import Optim
from zsr_core.trial.config import TrialConfig


def _public(name: str, prompts: PromptSet = "tga", preprocessing: Preprocessing | None = None) -> DataRef:
    """Return a public set below ``$ZSR_DATA``; without ``preprocessing`` prepared as TGA-ZSR does."""
    root = os.environ.get("ZSR_DATA", "data")
    how = preprocessing or task(name).preprocessing
    return DataRef(source="task", name=name, root=root, prompts=prompts, preprocessing=how)


def sixteen(prompts: PromptSet = "tga", preprocessing: Preprocessing | None = None) -> tuple[DataRef, ...]:
    """Return the 16 sets of TGA-ZSR's tables, the training set first."""
    return tuple(_public(row.name, prompts, preprocessing) for row in SIXTEEN)


LONG = 4  # epochs of the preset miniature-long
MINIATURE_EPS = 2 / 255  # leaves 7 % of the miniature of 96 pixels, as 1/255 leaves 5 % of a CLIP of 224


# What each method changes of the shared recipe below, by dotted path. A weight given here replaces the method's
# default alone, not a value that the caller sets. Found by `benchmarks/find_recipes.py`: twelve trials for each method,
# the shared recipe and eleven points of its learning rate and up to two weights, on 32 selection renders a set, seed 0;
# of those that reach 15 % robust, the one with the most clean accuracy. No point of FT-Clean, FLYP, LP-FT, TRADES and
# ARoW reached it: the attack-free ones are chosen by clean accuracy, the others by the harmonic mean.
MINIATURE: Mapping[type[AnyMethod], Mapping[str, Any]] = {
    FtClean: {"optim.lr": 0.000121},
    FtAdv: {"optim.lr": 0.000187},
    LpFt: {"optim.lr": 0.000121},
    Flyp: {"optim.lr": 0.000121},
    TeCoA: {"optim.lr": 0.000187},
    PmgAft: {"optim.lr": 0.000794, "method.logit_scale": 2.09, "method.alpha": 2.95},
    Fare: {"optim.lr": 0.000474, "method.clean_weight": 0.39},
    Laat: {"optim.lr": 0.000202, "method.tau": 0.0248, "method.beta": 0.248},
    TgaZsr: {"optim.lr": 0.00026, "method.alpha": 0.00659, "method.beta": 0.00377},
    CompTga: {"optim.lr": 0.000202, "method.alpha": 0.00744, "method.beta": 0.0149},
    Caw: {"optim.lr": 0.000202, "method.alpha": 0.308, "method.beta": 0.111},
    Agft: {"optim.lr": 0.000347, "method.gamma": 0.574, "method.scale": 209.0},
    Ucat: {"optim.lr": 0.000202, "method.weight": 3.91, "method.tau": 0.0668},
    Trades: {"optim.lr": 0.000228, "method.beta": 0.636},
    Mart: {"optim.lr": 0.000228, "method.lam": 0.636},
    Arow: {"optim.lr": 0.000228, "method.lam": 0.636},
}


def papers() -> Mapping[type[AnyMethod], Mapping[str, Any]]:
    """Return the papers' own recipes, as changes of the lineage's (TeCoA, TGA-ZSR, UCAT share one script).

    Optimiser, schedule, batch, epochs, training attack, data with its prompts and preprocessing. Known difference: the
    lineage and AGFT train in fp16 autocast with loss scaling over fp32 weights, and let the attack's unscaled gradients
    underflow in it; here training is fp32 (or bf16, ``precision``) and attacks are fp32 always. FARE's script decays
    biases and norms too, here decay is for matrices; AGFT's cosine counts from the first step, here from the warm-up's
    end, as the lineage's does.
    """
    return {
        # The row of TGA-ZSR's tables (its main.sh); TeCoA's own repository defaults to lr 1e-7 on ImageNet, batch 256.
        TeCoA: {"optim.lr": 1e-5},
        # serendipity1122/Pre-trained-Model-Guided-...: options' defaults; ImageNet statistics are in its code.
        PmgAft: {"optim.lr": 5e-5, "batch_size": 256, "model.pixels": "imagenet"},
        # chs20/RobustVLM, README: 20 000 steps of batch 128 on ImageNet (2 epochs), warm-up 1400, PGD-10 with momentum.
        Fare: {
            "optim": Optim(name="adamw", lr=1e-5, weight_decay=1e-4, warmup_steps=1400),
            "train_attack": Pgd(steps=10, step_size=1 / 255, keep="last", momentum=0.9),
            "train_data": _public("imagenet", preprocessing="resize224_bicubic"),
            "epochs": 2,
        },
        # YuboCui/AGFT, main.py and README: two GPUs of batch 128, ImageNet, Resize(224), prompts with a full stop.
        Agft: {"optim.lr": 4e-4, "batch_size": 256, "train_data": _public("imagenet", "agft", "resize224")},
        # VivienLu/UCAT, main.sh.
        Ucat: {"batch_size": 256},
        # The generic baselines were published on CIFAR-10 with networks of their own: the lineage's optimiser, their
        # attack at this budget (10 steps; 0.007 / 0.031, 0.007 / 0.031 and 2 / 8 of eps; start as published).
        Trades: {"train_attack": Pgd(steps=10, step_ratio=0.226, keep="last", start_std=0.001)},
        Mart: {"train_attack": Pgd(steps=10, step_ratio=0.226, keep="last", start_std=0.001)},
        Arow: {"train_attack": Pgd(steps=10, step_ratio=0.25, keep="last")},
    }


def protocols() -> Mapping[type[AnyMethod], Mapping[str, Any]]:
    """Return what the papers that leave the lineage's evaluation evaluate on, as changes of it.

    :func:`paper` has them, for one method against its own published numbers; methods that are compared
    (:func:`side_by_side`) share one protocol. Known difference: AGFT attacks CIFAR and STL-10 at their native size,
    here all is attacked at the model's input.
    """
    return {
        # YuboCui/AGFT, clip_dataset.py.
        Agft: {"eval_suite.tasks": sixteen("agft", "resize224")},
        # chs20/RobustVLM, CLIP_benchmark: OpenAI's templates, CLIP's own preprocessing.
        Fare: {"eval_suite.tasks": sixteen("openai-ensemble", "resize224_bicubic")},
    }


def changes(method: AnyMethod, table: Mapping[type[AnyMethod], Mapping[str, Any]]) -> dict[str, Any]:
    """Return what makes a shared recipe the method's: the method itself, then its row of the table."""
    defaults = {f"method.{f.name}": f.default for f in fields(method)}
    own = {f"method.{f.name}": getattr(method, f.name) for f in fields(method)}
    row = table.get(type(method), {})
    return {"method": method, **{k: v for k, v in row.items() if own.get(k) == defaults.get(k)}}


def recipes() -> Mapping[str, Mapping[type[AnyMethod], Mapping[str, Any]]]:
    """Return the methods' recipes of each preset that compares methods, as changes of its shared recipe."""
    return {"miniature": MINIATURE, "miniature-long": MINIATURE, "paper": papers()}


def with_own_recipe(preset: str) -> frozenset[str]:
    """Return the methods, by class name, that have a recipe of their own in a preset; empty if no method has one."""
    lineage = {TgaZsr, CompTga} if preset == "paper" else set()  # whose recipe the shared one is
    return frozenset(kind.__name__ for kind in {*recipes().get(preset, ()), *lineage})


def miniature(method: AnyMethod) -> TrialConfig:
    """The built-in miniature: seconds on one CPU core. Every number measured on it is labelled so."""
    return _miniature().with_(changes(method, MINIATURE))


def miniature_long(method: AnyMethod) -> TrialConfig:
    """The miniature trained for four times as long: methods separate later than a first try can wait."""
    return miniature(method).with_({"epochs": LONG})


def _miniature() -> TrialConfig:
    return TrialConfig(
        model=ModelRef(name=names.MINIATURES[-1]),
        # A first guess; each method has its own learning rate in the table above.
        optim=Optim(name="adamw", lr=5e-4, warmup_steps=None, warmup_share=0.1),
        threat=ThreatModel(eps=MINIATURE_EPS),
        train_attack=Pgd(steps=1, step_ratio=1.25, keep="last"),  # two steps were no better for the time they take
        train_data=DataRef(source="miniature", name="source"),
        epochs=1,
        batch_size=16,
        eval_suite=EvalSuite(
            tasks=tuple(DataRef(source="miniature", name=name) for name in ("source", *ZERO_SHOT)),
            attacks=(Pgd(steps=10, step_ratio=0.25),),
            eps=(MINIATURE_EPS,),
            n=64,
        ),
    )


def paper(method: AnyMethod) -> TrialConfig:
    """The method's own published recipe; where none is published, TGA-ZSR's on Tiny-ImageNet (:func:`_lineage`).

    Data is looked for below ``$ZSR_DATA`` (``data/`` without it), laid out as ``zsr data check`` says.
    """
    return _lineage().with_({**changes(method, papers()), **changes(method, protocols())})


def _lineage() -> TrialConfig:
    """TGA-ZSR's recipe (zhyblue424/TGA-ZSR, ``TGA-ZSR.py``, ``main.sh``; arXiv 2603.18598, section V).

    OpenAI's ViT-B/32; SGD, lr 1e-4, momentum 0.9, batch 128, 10 epochs, 1000 warm-up steps, then cosine; PGD-2, step
    and eps 1/255, last iterate; the 16 sets, its template, Resize(256) and CenterCrop(224). Ours: PGD-100 keeps the
    best iterate; 20 % of the training set are truly held out for selection; 1000 images of each set are attacked (a
    seeded choice, the same for every trial; one standard error of a set is 1.6 points, of the mean 0.4), where the
    papers attack every one; ``eval_suite.n = None`` does so.
    """
    return TrialConfig(
        model=ModelRef(name="ViT-B-32-quickgelu", pretrained="openai"),
        optim=Optim(name="sgd", lr=1e-4, momentum=0.9, warmup_steps=1000),
        threat=ThreatModel(eps=1 / 255),
        train_attack=Pgd(steps=2, step_size=1 / 255, keep="last"),
        train_data=_public("tiny_imagenet"),
        epochs=10,
        batch_size=128,
        eval_suite=EvalSuite(
            tasks=sixteen(), attacks=(Pgd(steps=100, step_ratio=0.25),), eps=(1 / 255,), n=1000, batch_size=256
        ),
    )


def flyp(method: AnyMethod) -> TrialConfig:
    """Finetune Like You Pretrain (Goyal et al., CVPR 2023), the optimiser's side; locuslab/FLYP, README, ImageNet.

    With :class:`~zsr_core.methods.Flyp` this is the published recipe, at a temperature that stays the model's own. With
    FT-Clean the contrastive loss is the same, but the text tower is not tuned, and a class's text is the mean over
    OpenAI's templates, where FLYP gives each image a caption made of one of them.
    """
    return _lineage().with_(
        {
            "method": method, "model.name": "ViT-B-16-quickgelu", "batch_size": 512, "epochs": 10,
            "train_data": _public("imagenet", "openai-ensemble", "resize224_bicubic"),
            "optim": Optim(name="adamw", lr=1e-5, weight_decay=0.1, warmup_steps=500),
        }
    )  # fmt: skip


EVERY: tuple[AnyMethod, ...] = tuple(kind() for kind in METHODS)
Radii = Mapping[str, Sequence[float]]  # preset -> eps in [0, 1] pixel units


def side_by_side(
    methods: Sequence[AnyMethod] = EVERY, *, train_eps: Radii | None = None, same_data: bool = False
) -> Mapping[str, tuple[Variant, ...]]:
    """Return the methods as a sweep's variants, per preset, each with its own recipe around the preset's shared one.

    With ``train_eps`` each method is trained at each of these radii; with ``same_data`` on the shared recipe's images
    and for its epochs, as papers train their baselines again.
    """
    variants: dict[str, tuple[Variant, ...]] = {}
    for preset, table in recipes().items():
        rows = [Variant(label=method.title, overrides=changes(method, table)) for method in methods]
        if same_data:
            own = [{k: v for k, v in row.overrides.items() if k not in ("train_data", "epochs")} for row in rows]
            rows = [Variant(label=row.label, overrides=kept) for row, kept in zip(rows, own, strict=True)]
        if train_eps is not None:
            rows = [
                Variant(label=f"{row.label} eps={eps * 255:.3g}/255", overrides={**row.overrides, "threat.eps": eps})
                for row in rows
                for eps in _radii(train_eps, preset)
            ]
        variants[preset] = tuple(rows)
    return variants


def shared(*, test_eps: Radii | None = None) -> Mapping[str, TrialConfig]:
    """Return, per preset, the recipe that every method starts from, evaluated at ``test_eps`` where it is given."""
    starts = {**_miniatures(), "paper": _lineage()}
    if test_eps is None:
        return starts
    return {preset: start.with_({"eval_suite.eps": _radii(test_eps, preset)}) for preset, start in starts.items()}


def _miniatures() -> dict[str, TrialConfig]:
    return {"miniature": _miniature(), "miniature-long": _miniature().with_({"epochs": LONG})}


def _radii(radii: Radii, preset: str) -> Sequence[float]:
    return radii["miniature" if preset == "miniature-long" else preset]


def reproduction(*profiles: str, method: AnyMethod | None = None) -> Mapping[str, TrialConfig]:
    """Return, per preset, what a table's rows start from: the paper's recipe, evaluated by the attacks that it ran.

    They attack every image of the sets, as in the papers, not a choice of 1000. ``method`` is the one whose recipe the
    rows share; without it it is TGA-ZSR's. ``profiles`` are names of :mod:`zsr_core.attacks.profiles`. The miniature
    has its own attack.
    """
    start = _lineage() if method is None else paper(method)
    return {
        **_miniatures(),
        "paper": start.with_({"eval_suite.attacks": tuple(profile(name) for name in profiles), "eval_suite.n": None}),
    }


PRESETS: Mapping[str, Callable[[AnyMethod], TrialConfig]] = rows_of(
    names.PRESETS, {"miniature": miniature, "miniature-long": miniature_long, "paper": paper, "flyp": flyp}
)


def scales(method: AnyMethod, **changed: Any) -> Mapping[str, TrialConfig]:
    """Return a sweep's bases for ``method``: the miniature, the miniature trained for longer, the paper's scale.

    ``changed`` is changed in each: ``scales(TeCoA(), defence=WiseFt())``.
    """
    return {preset: base(method, preset).with_(changed) for preset in ("miniature", "miniature-long", "paper")}


def base(method: AnyMethod, preset: str) -> TrialConfig:
    """Return the preset's recipe for ``method``.

    Raises:
        ConfigError: for an unknown preset, with the nearest name.
    """
    if preset not in PRESETS:
        raise unknown("--preset", preset, PRESETS)
    return PRESETS[preset](method)
