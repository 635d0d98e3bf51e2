"""One trial, whole: its configuration, what it reports, and ``run_trial``, which knows no Ray and no tracker."""

from __future__ import annotations

import copy
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import open_clip
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import zsr_core
from zsr_core.attacks import PerImage, Pgd
from zsr_core.clip import (
    Clip,
    ModelRef,
    check_model,
    computes_quick_gelu,
    image_size_of,
    load_clip,
    tower_shapes,
    weights_sha,
)
from zsr_core.codec import ConfigError, fingerprint, from_plain, read_json, require, to_plain, with_overrides
from zsr_core.data import DataRef, ImageSet, check_data, open_data
from zsr_core.defences import AnyDefence
from zsr_core.distributed import ALONE, Broken, Said, World, together
from zsr_core.evaluate import EvalSuite, Measurement, evaluate, measure, merged
from zsr_core.files import write_text, write_whole
from zsr_core.methods import AnyMethod, TeCoA
from zsr_core.predict import Journal, Tick
from zsr_core.records import SampleRecord, write_samples
from zsr_core.text import TextBank, encode_classes, encode_prompt
from zsr_core.threat import ThreatModel
from zsr_core.tower import ImageTower
from zsr_core.train import Optim, Recipe, fit
from zsr_core.victim import Regulariser, Victim
from zsr_core.views import Views

SCHEMA = 1
Status = Literal["done", "failed", "pruned"]


@dataclass(frozen=True, kw_only=True)
class TrialConfig:
    """Everything that decides a trial's numbers; ``trial_id`` is the hash of all of it.

    ``epochs = 0`` is the untouched model.
    """

    model: ModelRef = field(default_factory=ModelRef)
    method: AnyMethod = field(default_factory=TeCoA)
    optim: Optim = field(default_factory=Optim)
    threat: ThreatModel = field(default_factory=ThreatModel)
    train_attack: Pgd = field(default_factory=Pgd)
    train_data: DataRef = field(default_factory=DataRef)
    epochs: int = 10
    batch_size: int = 128
    precision: Literal["fp32", "bf16"] = "fp32"
    seed: int = 0
    eval_suite: EvalSuite = field(default_factory=EvalSuite)
    defence: AnyDefence | None = None  # what is done to the tuned model, or around it, when it is used
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        require(isinstance(self.epochs, int) and self.epochs >= 0, "epochs", self.epochs, "a whole number >= 0")
        require(
            isinstance(self.batch_size, int) and self.batch_size >= 1,
            "batch_size",
            self.batch_size,
            "a whole number >= 1",
        )
        climbs = self.train_attack.loss
        require(climbs == "ce", "train_attack.loss", climbs, "'ce': in training the method says what is climbed")
        space = self.threat.space
        require(space == "model_input", "threat.space", space, "'model_input': training attacks see the model's input")
        require(self.precision in ("fp32", "bf16"), "precision", self.precision, "'fp32' or 'bf16'")
        require(isinstance(self.seed, int), "seed", self.seed, "a whole number")
        require(self.schema == SCHEMA, "schema", self.schema, f"{SCHEMA}, the one this version reads")

    @property
    def trial_id(self) -> str:
        """12 hex digits of the hash of every field."""
        return fingerprint(from_plain(TrialConfig, to_plain(self)))

    @property
    def training_id(self) -> str:
        """12 hex digits of the hash of every field that shapes the weights: all but evaluation and defence."""
        plain = to_plain(from_plain(TrialConfig, to_plain(self)))
        return fingerprint({name: value for name, value in plain.items() if name not in ("eval_suite", "defence")})

    @property
    def headline_eps(self) -> float:
        """The budget that robust scores are read at and audited: the first of the suite, whatever was trained against.

        So trials of one suite are compared at one budget, also where the training radius is what varies.
        """
        return (*self.eval_suite.eps, self.threat.eps)[0]

    def with_(self, overrides: Mapping[str, Any]) -> TrialConfig:
        """Return the config with fields replaced by dotted path; an error names the path."""
        return with_overrides(self, overrides)


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """What a trial leaves behind. ``status`` "failed" carries its reason in ``error``; nothing is dropped."""

    trial_id: str
    config: TrialConfig
    status: Status
    measurements: tuple[Measurement, ...] = ()
    history: tuple[dict[str, float], ...] = ()  # a row per epoch: epoch, loss, terms, accuracies, grad_norm, seconds
    cost: dict[str, float] = field(default_factory=dict)  # seconds, encoder passes, peak bytes
    provenance: dict[str, str] = field(default_factory=dict)  # versions, git sha, device, weights hashes
    audit: dict[str, str] = field(default_factory=dict)  # rule -> verdict
    error: str = ""
    schema: int = SCHEMA


Report = Callable[[dict[str, float]], None]
# (config, folder of finished batches) -> the records of the whole suite
Spread = Callable[[TrialConfig, Path], list[SampleRecord]]
PARTS = "parts"  # below a trial's folder, while its evaluation lasts


def check(config: TrialConfig) -> None:
    """Raise ``ConfigError`` if the trial cannot start here: model, weights file, training data, tasks. Cheap."""
    check_model(config.model)
    size = image_size_of(config.model)
    if config.epochs:
        check_data(config.train_data, "train", "config.train_data", size)
        check_reads(config.method, config.model)
    suite = config.eval_suite
    for i, task in enumerate(suite.tasks):
        check_data(task, suite.split, f"config.eval_suite.tasks[{i}]", size, space=suite.space)


def check_reads(method: AnyMethod, model: ModelRef) -> None:
    """Raise ``ConfigError`` if the method reads what the image tower has not: it is tried on made-up features."""
    tower = tower_shapes(model)
    if tower.layout in ("vit", "resnet"):  # these have everything
        return
    dim, classes = int(open_clip.get_model_config(model.name)["embed_dim"]), ("a", "b", "c")
    unit = torch.nn.functional.normalize(torch.randn(3, dim, generator=torch.Generator().manual_seed(0)), dim=-1)
    bank = TextBank(unit=unit, classes=classes, templates=("{}",))
    pixels = torch.zeros(2, 3, 1, 1)
    views = Views(
        labels=torch.tensor([0, 2]), text=bank, scale=100.0, clean=pixels, adv=pixels, prompts=lambda _: bank,
        student=lambda x: tower.made_up(len(x), dim), teacher=lambda x: tower.made_up(len(x), dim),
    )  # fmt: skip
    try:
        method.loss(views)
        method.attack_objective(views)
    except ConfigError as error:
        raise ConfigError(f"config.method: {method.title} cannot tune {model.name!r}: {error}") from None


def read_result(folder: Path) -> TrialResult | None:
    """Return the result in a trial's folder, or None if there is none.

    Raises:
        ConfigError: naming the file, if it is there and cannot be read.
    """
    return read_json(TrialResult, folder / "result.json", "result")


def run_trial(
    config: TrialConfig,
    folder: Path,
    *,
    report: Report | None = None,
    cache: Path | None = None,
    device: str | None = None,
    tick: Tick | None = None,
    spread: Spread | None = None,
    world: World = ALONE,
) -> TrialResult:
    """Train, attack, measure, and leave config, records and result in ``folder``; the result is written last.

    Args:
        report: gets a dict of numbers after each epoch ("epoch", "loss", terms) and each task ("task", "tasks").
        cache: a folder that trials share: teacher features, tuned weights by training hash, training checkpoints.
        device: "cpu" or "cuda"; by default CUDA where there is one.
        tick: hears of every batch that was attacked.
        spread: evaluates in place of this process, for instance many at once; batches finished before a kill are found
            again in the folder it is given.
        world: the processes that run this trial together, each in this function; the leading one writes. If one
            fails, it raises: see :func:`run_trial_together`, which starts them.

    Returns the stored result at once if the folder holds one with status "done". A trial that fails is a result with
    status "failed" and its reason; only an interrupt passes through.

    Raises:
        ConfigError: if the folder holds the result of another trial, or one that cannot be read.
    """
    stored = _done(config, folder)
    if stored is not None:
        return stored
    if world.leads:
        _begin(config, folder)
    started = _now()
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    try:
        result = _run(config, folder, report, cache, where, tick, spread, world)
    except Exception as error:  # whatever stops a trial becomes its row; the traceback stays beside it
        if world.size > 1:
            raise
        reason = str(error).strip() or type(error).__name__
        kind = "" if isinstance(error, (ConfigError, ArithmeticError)) else f"{type(error).__name__}: "
        result = _failed(config, folder, f"{kind}{reason}", traceback.format_exc())
    return _end(result, folder, where, started) if world.leads else result


def run_trial_together(
    config: TrialConfig,
    folder: Path,
    processes: int,
    *,
    report: Report | None = None,
    cache: Path | None = None,
    device: str | None = None,
) -> TrialResult:
    """Run one trial as :func:`run_trial` does, in ``processes`` processes of this machine, one a GPU or CPU core.

    The numbers are those of one process up to the order of sums. If a process is killed, all are started once more
    and go on from the last checkpoint; a second time, or an error, is a failed result.
    """
    if processes == 1:
        return run_trial(config, folder, report=report, cache=cache, device=device)
    stored = _done(config, folder)
    if stored is not None:
        return stored
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    threads, started = max(1, torch.get_num_threads() // processes), _now()
    for last in (False, True):
        try:
            together(
                processes, _member, (config, folder, cache), cuda=where.type == "cuda", report=report, threads=threads
            )
            break
        except Broken as error:
            if last or not error.killed:
                _begin(config, folder)
                return _end(_failed(config, folder, str(error), error.trace), folder, where, started)
    result = read_result(folder)
    assert result is not None
    return result


def _member(
    world: World, device: str, report: Said | None, config: TrialConfig, folder: Path, cache: Path | None
) -> None:
    run_trial(config, folder, report=report, cache=cache, device=device, world=world)


def _done(config: TrialConfig, folder: Path) -> TrialResult | None:
    stored = read_result(folder)
    if stored is not None and stored.trial_id != config.trial_id:
        raise ConfigError(f"folder: {folder} holds trial {stored.trial_id}, expected {config.trial_id} or none")
    return stored if stored is not None and stored.status == "done" else None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _begin(config: TrialConfig, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "config.json", json.dumps(to_plain(config), indent=1) + "\n")


def _failed(config: TrialConfig, folder: Path, reason: str, trace: str) -> TrialResult:
    write_text(folder / "traceback.txt", trace)
    return TrialResult(trial_id=config.trial_id, config=config, status="failed", error=reason)


def _end(result: TrialResult, folder: Path, where: torch.device, started: str) -> TrialResult:
    facts = {**provenance(where), **result.provenance, "started": started, "finished": _now()}
    result = replace(result, provenance=facts)
    write_result(folder, result)
    if result.status == "done":
        shutil.rmtree(folder / PARTS, ignore_errors=True)
    return result


def write_result(folder: Path, result: TrialResult) -> Path:
    """Write ``result.json``, whole or not at all."""
    return write_text(folder / "result.json", json.dumps(to_plain(result), indent=1) + "\n")


def _run(
    config: TrialConfig,
    folder: Path,
    report: Report | None,
    cache: Path | None,
    device: torch.device,
    tick: Tick | None,
    spread: Spread | None,
    world: World,
) -> TrialResult:
    begun = time.perf_counter()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    clip = _clip(config.model, str(device))
    clip.tower.world = world
    tower, history, cost = _tuned(config, clip, report, cache, device)
    trained = time.perf_counter()
    clip.tower.world = tower.world = ALONE  # from here on each process has images of its own
    victim = deployed(config, clip, tower)

    def progress(done: int, of: int, _: str) -> None:
        if report is not None:
            report({"task": done, "tasks": of})

    if spread is not None:
        records = spread(config, folder / PARTS)
    else:
        journal = Journal(folder=folder / PARTS)
        own = _records(config, clip, victim, device, journal, tick, progress, (world.rank, world.size))
        records = own if world.size == 1 else merged(world.collect(own))
    if not world.leads:
        return TrialResult(trial_id=config.trial_id, config=config, status="done")
    write_samples(folder / "samples.parquet", records)
    zero_shot = [t.called for t in config.eval_suite.tasks if t.called != config.train_data.called]
    ended = time.perf_counter()
    seconds = {"seconds_train": trained - begun, "seconds_eval": ended - trained, "seconds_total": ended - begun}
    gpu = {"gpu_seconds": world.size * (ended - begun)} if device.type == "cuda" else {}
    return TrialResult(
        trial_id=config.trial_id, config=config, status="done", measurements=tuple(measure(records, zero_shot)),
        history=tuple(history), cost={**cost, **seconds, **gpu, "peak_bytes": _peak_bytes(device)},
        provenance={
            "weights_sha": victim.sha, "initial_weights_sha": clip.sha, "processes": str(world.size),
            **skipped(config, clip.tower.image_size),
        },
    )  # fmt: skip


def _records(
    config: TrialConfig,
    clip: Clip,
    victim: Victim,
    device: torch.device,
    journal: Journal,
    tick: Tick | None,
    progress: Callable[[int, int, str], None] | None = None,
    shard: tuple[int, int] = (0, 1),
) -> list[SampleRecord]:
    def bank(images: ImageSet) -> TextBank:
        return evaluation_bank(config, clip, images, str(device))

    return evaluate(
        victim, config.eval_suite, bank, clip.tower.image_size, seed=config.seed, trial_id=config.trial_id,
        device=device, progress=progress, journal=journal, tick=tick, shard=shard,
    )  # fmt: skip


def evaluate_shard(
    config: TrialConfig,
    parts: Path,
    shard: tuple[int, int],
    *,
    cache: Path | None = None,
    device: str | None = None,
    tick: Tick | None = None,
) -> list[SampleRecord]:
    """Return the records of images k, k + K, ... of every task, ``shard`` being (k, K); see :func:`evaluate.merged`.

    Args:
        parts: the folder of finished batches, which shards may share.
        cache: where the trial's tuned weights are kept; needless for an untouched model.
    """
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    clip = _clip(config.model, str(where))
    tower, _, _ = _tuned(config, clip, None, cache, where)
    victim = deployed(config, clip, tower)
    return _records(config, clip, victim, where, Journal(folder=parts), tick, shard=shard)


def restored(
    config: TrialConfig, cache: Path, device: torch.device
) -> tuple[Victim, Callable[[ImageSet], TextBank], int]:
    """Return a trial's classifier from the weights kept in ``cache``, its texts per image set, and its image size.

    Weights that are not there any more are trained anew.
    """
    clip = _clip(config.model, str(device))
    tower, _, _ = _tuned(config, clip, None, cache, device)

    def bank(images: ImageSet) -> TextBank:
        return evaluation_bank(config, clip, images, str(device))

    return deployed(config, clip, tower), bank, clip.tower.image_size


def skipped(config: TrialConfig, size: int) -> dict[str, str]:
    """Return ``{"skipped_<split>_<set>": "2: a.jpg, b.jpg"}`` for sets that leave out what cannot be decoded."""
    suite = config.eval_suite
    sets = [open_data(task, suite.split, size, suite.n, space=suite.space) for task in suite.tasks if task.skips]
    if config.epochs and config.train_data.skips:
        sets.append(open_data(config.train_data, "train", size))
    return {f"skipped_{s.split}_{s.name}": f"{len(s.skipped)}: {', '.join(s.skipped)}" for s in sets if s.skipped}


def deployed(config: TrialConfig, clip: Clip, tuned: ImageTower) -> Victim:
    """Return the classifier as it is used: the tuned tower behind its defence, at its method's scale."""
    own = config.method.evaluation_scale if config.epochs else None
    scale = clip.scale if own is None else own
    tower = tuned if config.defence is None else config.defence.tower(tuned, clip.tower)
    source = _untouched(config, clip)
    defended = None if config.defence is None else config.defence.defended(tower, clip.tower)
    regulariser = _regulariser(config, clip, tower) if config.epochs else None
    return Victim(
        embed=tower, scale=scale, bias=clip.bias, sha=weights_sha(tower), defended=defended,
        attack_samples=0 if config.defence is None else config.defence.attack_samples, regulariser=regulariser,
        others={"untouched": Victim(embed=source.tower, scale=source.scale, bias=source.bias, sha=source.sha)},
        facts=fingerprint([to_plain(config.defence), to_plain(config.method) if regulariser else None]),
    )  # fmt: skip


def _untouched(config: TrialConfig, clip: Clip) -> Clip:
    """Return the model before it was tuned: of weights that others tuned, the CLIP whose texts go with them."""
    ref = config.model
    if config.epochs or ref.pretrained is None or ref.text_from is None:
        return clip
    return load_clip(replace(ref, pretrained=ref.text_from, text_from=None), next(clip.tower.parameters()).device)


def _regulariser(config: TrialConfig, clip: Clip, tower: ImageTower) -> Regulariser | None:
    """Return what the method's loss adds to cross-entropy, for attacks that climb the defence's own terms too.

    None where it adds nothing: one black image is asked which terms there are.
    """

    def views(x: Tensor, y: Tensor, text: TextBank) -> Views:
        return Views(
            labels=y, text=text, scale=clip.scale, clean=x, adv=x, student=tower.features, teacher=clip.tower.features,
            prompts=lambda template: encode_prompt(clip.encode_text, text.classes, template),
        )  # fmt: skip

    def beyond_ce(faced: Views) -> list[Tensor]:
        return [term for name, term in config.method.loss(faced).items() if name != "ce"]

    def of_batch(x: Tensor, y: Tensor, text: TextBank) -> PerImage:
        whole = views(x, y, text)

        def added(x_adv: Tensor, rows: Tensor) -> Tensor:
            faced = whole.facing(x_adv, rows)
            if not config.method.couples_batch:
                return torch.stack(beyond_ce(faced)).sum(dim=0)
            # What an attack finds must not depend on which images share its batch.
            shared = config.method.teacher_cacheable  # else the loss reads inner layers, which are not kept
            each = [
                faced.alone(i)
                if shared
                else replace(views(x[row : row + 1], y[row : row + 1], text), adv=x_adv[i : i + 1])
                for i, row in enumerate(rows.tolist())
            ]
            return torch.cat([torch.stack(beyond_ce(one)).sum(dim=0) for one in each])

        return added

    device = next(tower.parameters()).device
    black = torch.zeros(1, 3, tower.image_size, tower.image_size, device=device)
    text = encode_classes(clip.encode_text, ("a", "b"), ("{}",))
    with torch.no_grad():
        return of_batch if beyond_ce(views(black, torch.zeros(1, dtype=torch.int64, device=device), text)) else None


def evaluation_bank(config: TrialConfig, clip: Clip, images: ImageSet, device: str) -> TextBank:
    """Return the class texts of a task as the tuned model is used with them; untouched, as they are."""
    own = _bank(config.model, device, images.classes, images.templates)
    if config.epochs == 0:
        return own

    def train() -> TextBank:
        source = open_data(config.train_data, "train", clip.tower.image_size)
        return _bank(config.model, device, source.classes, source.templates)

    return config.method.evaluation_text(own, train)


def _tuned(
    config: TrialConfig, clip: Clip, report: Report | None, cache: Path | None, device: torch.device
) -> tuple[ImageTower, list[dict[str, float]], dict[str, float]]:
    """Return the tuned tower: from the shared cache if these very weights were trained before, else by training."""
    if config.epochs == 0:
        return clip.tower, [], {}
    images = open_data(config.train_data, "train", clip.tower.image_size)
    # A config names files by path; what is in them decides whether earlier weights are these weights.
    start = fingerprint([clip.sha, images.key], 6)
    kept = None if cache is None else cache / "weights" / f"{config.training_id}-{start}.safetensors"
    if kept is not None and clip.tower.world.lead(kept.is_file):
        tower = copy.deepcopy(clip.tower)
        tower.visual.load_state_dict(load_file(kept, device=str(device)))
        facts = json.loads(kept.with_suffix(".json").read_text(encoding="utf-8"))
        return tower, facts["history"], facts["cost"]
    text = _bank(config.model, str(device), images.classes, images.templates)
    fitted = fit(
        clip, config.method, text, images, recipe_of(config), report=report, device=device,
        cache_folder=None if cache is None else cache / "teacher",
        checkpoint=None if kept is None else kept.with_suffix(".checkpoint"),
    )  # fmt: skip
    if kept is not None and clip.tower.world.leads:
        write_text(kept.with_suffix(".json"), json.dumps({"history": fitted.history, "cost": fitted.cost}))
        state = {name: tensor.contiguous() for name, tensor in fitted.tower.visual.state_dict().items()}
        facts = {"model": config.model.name, "quick_gelu": str(computes_quick_gelu(config.model.name)).lower()}
        write_whole(kept, lambda part: save_file(state, part, metadata=facts))
        kept.with_suffix(".checkpoint").unlink(missing_ok=True)
    return fitted.tower, fitted.history, fitted.cost


def recipe_of(config: TrialConfig) -> Recipe:
    """Return the part of the config that shapes training beside the method."""
    return Recipe(
        optim=config.optim, threat=config.threat, attack=config.train_attack, epochs=config.epochs,
        batch_size=config.batch_size, precision=config.precision, seed=config.seed,
    )  # fmt: skip


@lru_cache(maxsize=2)
def _clip(ref: ModelRef, device: str) -> Clip:
    """The untouched model; kept between the trials of a worker, who copy its tower and never change it."""
    return load_clip(ref, device)


@lru_cache(maxsize=256)
def _bank(ref: ModelRef, device: str, classes: tuple[str, ...], templates: tuple[str, ...]) -> TextBank:
    return encode_classes(_clip(ref, device).encode_text, classes, templates)


def _peak_bytes(device: torch.device) -> float:
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


@lru_cache(maxsize=1)
def git_state() -> tuple[str, str]:
    """Return (commit, "true" | "false" for uncommitted changes); empty where there is no checkout.

    The environment's ZSR_GIT_SHA and ZSR_GIT_DIRTY come first: packages sent to a cluster leave ``.git`` behind.
    """
    if "ZSR_GIT_SHA" in os.environ:
        return os.environ["ZSR_GIT_SHA"], os.environ.get("ZSR_GIT_DIRTY", "")
    here = Path(__file__).resolve().parent

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(here), *words], capture_output=True, text=True, check=False, timeout=20)
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        sha = git("rev-parse", "HEAD")
        return sha, str(bool(git("status", "--porcelain"))).lower() if sha else ""
    except (OSError, subprocess.TimeoutExpired):
        return "", ""


def provenance(device: torch.device) -> dict[str, str]:
    """Return what made a result: versions, commit, machine."""
    sha, dirty = git_state()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else (platform.processor() or platform.machine())
    return {
        "zsr": zsr_core.__version__, "torch": torch.__version__, "open_clip": open_clip.__version__,
        "python": platform.python_version(), "git_sha": sha, "git_dirty": dirty, "device": f"{device.type}: {name}",
        "host": platform.node(), "threads": str(torch.get_num_threads()),
    }  # fmt: skip
