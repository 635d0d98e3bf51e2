"""A plan needs no data: public sets that are not here count as published, and the plan says so and names GPU hours."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sweeps.engine import launch
from sweeps.reproductions import reproduce_agft_table1
from zsr_core.codec import ConfigError
from zsr_core.data import DataRef, open_data, set_size
from zsr_core.data.miniature import IMAGE_SIZE
from zsr_core.data.miniature.scenes import rendered
from zsr_core.data.partition import Split


@pytest.mark.parametrize(
    ("name", "split", "images", "classes"),
    [
        ("cifar10", "train", 40_000, 10),
        ("cifar10", "selection", 10_000, 10),
        ("cifar10", "report", 10_000, 10),
        ("sun397", "report", 108_754 - 21_751, 397),  # not cut by its authors: 80 % report
        ("tiny_imagenet", "train", 80_000, 200),
    ],
)
def test_a_public_set_that_is_not_here_is_as_large_as_published(
    tmp_path: Path, name: str, split: Split, images: int, classes: int
) -> None:
    found = set_size(DataRef(source="task", name=name, root=str(tmp_path)), split, 224)
    assert (found.images, found.classes, found.published) == (images, classes, True)
    assert set_size(DataRef(source="task", name=name, root=str(tmp_path)), split, 224, limit=7).images == 7


def test_what_is_here_is_counted() -> None:
    ref = DataRef(name="source")
    found = set_size(ref, "selection", IMAGE_SIZE, limit=5)
    assert (found.images, found.published) == (5, False)
    assert found.classes == len(open_data(ref, "selection", IMAGE_SIZE, 5).classes)


def test_a_set_that_is_here_in_part_is_not_guessed_at(tmp_path: Path) -> None:
    (tmp_path / "tiny-imagenet-200" / "val").mkdir(parents=True)
    with pytest.raises(ConfigError, match="tiny_imagenet"):
        set_size(DataRef(source="task", name="tiny_imagenet", root=str(tmp_path)), "train", 224)


def test_the_paper_scale_plan_of_a_reproduction_is_in_gpu_hours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)  # no data here
    arguments = ["--plan", "--preset", "paper", "--results", str(tmp_path / "results")]
    assert launch(reproduce_agft_table1.SWEEP, arguments) == 0
    out = capsys.readouterr().out
    found = re.search(r"On RTX 3090 \(counted, not measured\): about ([\d.]+) GPU hours\.", out)
    assert found is not None
    # By hand, at 8.8 GFLOP a forward and 18.9 TFLOP/s: 10 epochs over 1.02 M images at 7, 10 and 7 forwards are 32 h;
    # four rows on two splits of about 0.32 M images each, at 42 forwards under PGD-20 and 44 under AutoAttack, 30 h.
    assert 56 < float(found[1]) < 69
    assert "Not on this machine, so their published sizes are used: caltech101, " in out
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(("split", "limit"), [("train", None), ("selection", None), ("report", 7), ("all", None)])
def test_a_built_in_set_is_counted_without_rendering_it(split: Split, limit: int | None) -> None:
    ref = DataRef(name="source")
    before = rendered.cache_info()
    counted = set_size(ref, split, IMAGE_SIZE, limit)
    assert rendered.cache_info() == before
    assert counted.images == len(open_data(ref, split, IMAGE_SIZE, limit).labels)
