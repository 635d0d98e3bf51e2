"""Public sets of out-of-distribution images, made small in the layout in which each is distributed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from zsr_core.attacks import Pgd
from zsr_core.cli.detection import ood_sets
from zsr_core.codec import ConfigError
from zsr_core.data import DataRef, check_data, check_pictures, open_data, set_size, task_ref
from zsr_core.data.check import check_sets
from zsr_core.data.tasks import OUTSIDE, TASKS, task
from zsr_core.evaluation.suite import EvalSuite

# Where the archives of OpenOOD 1.5, of MOS and of the authors put their images: folder, names that are read, others.
LAYOUTS: dict[str, list[tuple[str, list[str], list[str]]]] = {
    "ssb_hard": [("images_largescale/ssb_hard", [f"n0000{k}787/n0000{k}787_{i}.JPEG" for k in "14" for i in range(5)],
                  ["ssb_hard.txt"])],
    "ninco": [("images_largescale/ninco", [f"s_sky/s_sky_{i:03d}_0000{i}.jpg" for i in range(9)] + ["ants/a.JPG"], []),
              ("NINCO/NINCO_OOD_classes", [f"amphiuma_means/amphiuma_means_{i:03d}_1.jpeg" for i in range(10)], [])],
    "inaturalist": [("images_largescale/inaturalist/images", [f"{i:032x}.jpg" for i in range(10)], []),
                    ("iNaturalist/images", [f"{i:032x}.jpg" for i in range(10)], [])],
    "sun": [("SUN/images", [f"sun_{i}.jpg" for i in range(10)], [])],
    "places": [("Places/images", [f"b_bamboo_forest_{i:08d}.jpg" for i in range(10)], [])],
    "textures": [(folder, [f"{c}/{c}_000{i}.jpg" for c in ("banded", "waffled") for i in range(5)],
                  ["bubbly/bubbly_0001.jpg", "spiralled/spiralled_0002.jpg", "waffled/.directory"])
                 for folder in ("images_classic/texture", "dtd/dtd/images")],
    "openimage_o": [("images_largescale/openimage_o/images", [f"{i:016x}.jpg" for i in range(10)],
                     ["fffffffffffffff0.jpg"])],
}  # fmt: skip
CASES = [(name, k) for name, layouts in LAYOUTS.items() for k in range(len(layouts))]


def _made(root: Path, name: str, layout: int = 0) -> DataRef:
    folder, read, others = LAYOUTS[name][layout]
    for file in (*read, *others):
        place = root / folder / file
        place.parent.mkdir(parents=True, exist_ok=True)
        if file.endswith((".txt", ".directory")):
            place.write_text("beside the images")
        else:
            Image.new("RGB", (12, 9), (40, 90, 160)).save(place, "JPEG")
    for needed in task(name).layout:  # OpenOOD's list of images
        (root / needed).parent.mkdir(parents=True, exist_ok=True)
        above = folder.partition("/")[2]
        (root / needed).write_text("".join(f"{above}/{file} -1\n" for file in read))
    return task_ref(name, root)


def test_every_set_has_a_layout_here_and_counts_as_published() -> None:
    assert list(LAYOUTS) == [row.name for row in OUTSIDE]
    counts = {row.name: (row.outside, row.counts["all"]) for row in OUTSIDE}
    assert counts == {
        "ssb_hard": ("near", 49_000), "ninco": ("near", 5_879), "inaturalist": ("far", 10_000), "sun": ("far", 10_000),
        "places": ("far", 10_000), "textures": ("far", 43 * 120), "openimage_o": ("far", 15_869),
    }  # fmt: skip
    assert not {row.name for row in OUTSIDE} & {row.name for row in TASKS}


@pytest.mark.parametrize(("name", "layout"), CASES)
def test_a_set_is_read_as_it_is_distributed(name: str, layout: int, tmp_path: Path) -> None:
    ref = _made(tmp_path, name, layout)
    select, report = (open_data(ref, split, 16) for split in ("selection", "report"))  # type: ignore[arg-type]
    assert ref.outside == task(name).outside
    assert (len(select.ids), len(report.ids)) == (2, 8)
    assert not set(select.ids) & set(report.ids)
    read = {*select.ids, *report.ids}
    assert {file.rpartition("/")[2] for file in read} == {f.rpartition("/")[2] for f in LAYOUTS[name][layout][1]}
    assert report.pixels([0]).shape == (1, 3, 16, 16)
    check_pictures(ref, "report", "x", 16)
    with pytest.raises(ConfigError, match="at least two: with one, every answer is right"):
        check_data(ref, "report", "x", 16)


@pytest.mark.parametrize("name", LAYOUTS)
def test_where_a_set_is_missing_the_error_says_what_belongs_where(name: str, tmp_path: Path) -> None:
    row = task(name)
    with pytest.raises(ConfigError, match=f"holds no {name} ") as raised:
        open_data(task_ref(name, tmp_path), "report", 16)
    for part in (*row.either, *row.layout, *row.archives):
        assert part in str(raised.value)
    assert set_size(task_ref(name, tmp_path), "report", 16).images == round(0.8 * row.counts["all"])


def test_a_check_counts_against_what_was_published(tmp_path: Path) -> None:
    _made(tmp_path, "ninco")
    found, missing = check_sets(tmp_path, ["ninco", "sun"])
    assert (found.state, missing.state) == ("incomplete", "missing")
    assert any("10 images of 5,879, near OOD" in line for line in found.lines)
    assert any("SUN/images" in line and "SUN.tar.gz" in line for line in [" ".join(missing.lines)])


@pytest.mark.parametrize(
    ("line", "said"),
    [("openimage_o/images/a.jpg", "a blank and a label"), ("ninco/a.jpg -1", "openimage_o/images/NAME.jpg"),
     ("openimage_o/images/../../x.jpg -1", "openimage_o/images/NAME.jpg")],
)  # fmt: skip
def test_a_line_of_an_image_list_that_names_no_image_of_the_set_is_refused(
    line: str, said: str, tmp_path: Path
) -> None:
    ref = _made(tmp_path, "openimage_o")
    (tmp_path / task("openimage_o").layout[0]).write_text(line + "\n")
    with pytest.raises(ConfigError, match=f"test_openimage_o.txt, line 1: .*{said}"):
        open_data(ref, "report", 16)


def test_a_listed_image_that_is_not_there_is_found_by_the_check(tmp_path: Path) -> None:
    _made(tmp_path, "openimage_o")
    (tmp_path / "images_largescale/openimage_o/images" / f"{3:016x}.jpg").unlink()
    (found,) = check_sets(tmp_path, ["openimage_o"])
    assert any("1 images are listed and not there" in line for line in found.lines)


def test_a_set_is_out_of_distribution_only_where_no_task_shares_its_images(tmp_path: Path) -> None:
    found = ood_sets("ninco,textures,sun", str(tmp_path))
    assert [[ref.called for ref in refs] for refs in found.values()] == [["ninco"], ["textures", "sun"]]
    suite = EvalSuite(attacks=(Pgd(steps=1),), ood_near=found["near"], ood_far=found["far"])
    for name, other in (("dtd", "textures"), ("sun397", "sun")):
        with pytest.raises(ConfigError, match=f"got '{other}', expected images that are not in the task {name}"):
            replace(suite, tasks=(task_ref(name, tmp_path),))
    with pytest.raises(ConfigError, match="got 'ninco', expected a set with classes"):
        EvalSuite(tasks=found["near"])
