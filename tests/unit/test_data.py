"""Image sets from disk: layouts, honest splits, odd images, clear errors."""

from __future__ import annotations

import hashlib
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets

from zsr_core.codec import ConfigError
from zsr_core.data import DataRef, ImageSet, batches, check_data, miniature, open_data
from zsr_core.data.partition import held_out

# Workers are forked; later versions of Python warn of that wherever threads run, as torch's always do.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def _save(file: Path, colour: tuple[int, int, int] = (10, 20, 30), size: tuple[int, int] = (12, 10)) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(file)


def _tree(root: Path, names: tuple[str, ...], each: int) -> Path:
    for label, name in enumerate(names):
        for i in range(each):
            _save(root / name / f"{i}.png", (40 * label, i, 0))
    return root


def _folder(root: Path, split: Any, **changes: Any) -> ImageSet:
    return open_data(DataRef(source="imagefolder", root=str(root), **changes), split, 8)


def test_a_flat_folder_is_cut_into_three_disjoint_stable_parts(tmp_path: Path) -> None:
    root = _tree(tmp_path / "pets", ("cat", "dog"), 25)
    parts = {split: set(_folder(root, split).ids) for split in ("train", "selection", "report")}
    assert {split: len(ids) for split, ids in parts.items()} == {"train": 30, "selection": 10, "report": 10}
    assert len(set.union(*parts.values())) == 50
    assert all(set(_folder(root, split).ids) == ids for split, ids in parts.items())


def test_with_train_and_val_a_fifth_of_train_is_held_out_and_val_is_reported(tmp_path: Path) -> None:
    _tree(tmp_path / "set" / "train", ("cat", "dog"), 10)
    _tree(tmp_path / "set" / "val", ("cat", "dog"), 3)
    train, selection, report = (_folder(tmp_path / "set", s) for s in ("train", "selection", "report"))
    assert (len(train.ids), len(selection.ids), len(report.ids)) == (16, 4, 6)
    assert not set(train.ids) & set(selection.ids)
    assert all(i.startswith("train/") for i in (*train.ids, *selection.ids))
    assert report.ids[0] == "val/cat/0.png"
    assert report.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert train.classes == selection.classes == report.classes == ("cat", "dog")
    assert train.name == "set"
    assert len({train.key, selection.key, report.key}) == 3


def test_labels_are_positions_in_the_training_folders_classes_even_where_val_lacks_some(tmp_path: Path) -> None:
    _tree(tmp_path / "train", ("ant", "bee", "cat"), 5)
    _tree(tmp_path / "val", ("cat",), 2)
    report = _folder(tmp_path, "report")
    assert report.classes == ("ant", "bee", "cat")
    assert report.labels.tolist() == [2, 2]


def test_a_val_folder_without_class_folders_is_no_one_class_task(tmp_path: Path) -> None:
    """Tiny-ImageNet as it is unpacked keeps all of val's images in one folder: a task that anything solves."""
    _tree(tmp_path / "train", ("n01", "n02"), 5)
    _tree(tmp_path / "val", ("images",), 4)
    with pytest.raises(
        ConfigError, match=r"root: got '.*val', expected the class folders of .*train, not \['images'\]"
    ):
        _folder(tmp_path, "report")


def test_images_below_a_class_folder_are_found_at_any_depth(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for i in range(3):
            _save(tmp_path / "train" / name / "images" / f"{i}.JPEG")
        (tmp_path / "train" / name / "boxes.txt").write_text("no image")
    assert len(_folder(tmp_path, "train").ids) + len(_folder(tmp_path, "selection").ids) == 6


def test_hidden_files_and_folders_are_no_images_and_no_classes(tmp_path: Path) -> None:
    root = _tree(tmp_path / "pets", ("cat", "dog"), 25)
    before = _folder(root, "train")
    _save(root / ".ipynb_checkpoints" / "0.png")
    (root / "cat" / "._0.png").write_bytes(b"resource fork")
    after = _folder(root, "train")
    assert (after.classes, after.ids) == (before.classes, before.ids)


def test_images_that_came_or_broke_since_are_seen(tmp_path: Path) -> None:
    root = _tree(tmp_path / "pets", ("cat", "dog"), 5)
    assert len(_folder(root, "selection", on_corrupt="skip").ids) == 2
    _tree(root, ("eel",), 5)
    images = _folder(root, "selection", on_corrupt="skip")
    assert len(images.ids) == 3
    assert images.classes == ("cat", "dog", "eel")
    (root / images.ids[1]).write_bytes(b"")
    assert _folder(root, "selection", on_corrupt="skip").skipped == (images.ids[1],)


def test_class_names_are_words_and_words_txt_names_the_ids(tmp_path: Path) -> None:
    _tree(tmp_path, ("n01443537", "Golden_Retriever", "t-shirt"), 5)
    (tmp_path / "words.txt").write_text("n01443537\tgoldfish, Carassius auratus\nn9\tother\n")
    assert _folder(tmp_path, "report").classes == ("golden retriever", "goldfish", "t shirt")


def test_a_limit_keeps_images_of_all_classes_and_a_smaller_one_some_of_them(tmp_path: Path) -> None:
    """Files are sorted by class: the first twenty of these would all be cats."""
    root = _tree(tmp_path / "pets", ("cat", "dog"), 50)
    kept = {n: _folder(root, "train", limit=n) for n in (5, 20, 60, 999)}
    assert [len(images.ids) for images in kept.values()] == [5, 20, 60, 60]
    assert set(kept[5].ids) < set(kept[20].ids) < set(kept[60].ids)
    assert kept[999].ids == kept[60].ids == _folder(root, "train").ids
    assert kept[20].labels.bincount().min() >= 5
    ref = DataRef(source="imagefolder", root=str(root), limit=20)
    assert open_data(ref, "train", 8, limit=5).ids == kept[5].ids


def test_the_held_out_rows_depend_on_number_and_name_alone() -> None:
    train, selection = held_out(50, "x")
    assert (len(train), len(selection)) == (40, 10)
    assert sorted([*train.tolist(), *selection.tolist()]) == list(range(50))
    assert torch.equal(selection, held_out(50, "x")[1])
    assert not torch.equal(selection, held_out(50, "y")[1])
    # Golden: drawn once and written down, since another choice would mix what was trained on with what selects.
    assert held_out(10, "tiny-imagenet-200")[1].tolist() == [5, 9]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
@pytest.mark.parametrize("size", [(1, 1), (30, 3), (3, 30), (64, 64)])
def test_any_mode_and_any_size_becomes_a_square_of_rgb_bytes(tmp_path: Path, mode: str, size: tuple[int, int]) -> None:
    suffix = ".tif" if mode in ("CMYK", "I;16") else ".png"
    (tmp_path / "a").mkdir()
    for i in range(5):
        Image.new(mode, size).save(tmp_path / "a" / f"{i}{suffix}")
    images = _folder(tmp_path, "report")
    pixels = images.pixels([0])
    assert pixels.shape == (1, 3, 8, 8)
    assert pixels.dtype == torch.uint8


def test_colours_arrive_as_they_are_and_grey_of_sixteen_bits_is_scaled(tmp_path: Path) -> None:
    for i in range(5):
        _save(tmp_path / "rgb" / "a" / f"{i}.png", (10, 120, 250))
        (tmp_path / "grey" / "a").mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((9, 9), 0x4080, dtype=np.uint16)).save(tmp_path / "grey" / "a" / f"{i}.png")
    assert _folder(tmp_path / "rgb", "report").pixels([0]).flatten(2).unique(dim=2).flatten().tolist() == [10, 120, 250]
    assert _folder(tmp_path / "grey", "report").pixels([0]).unique().tolist() == [0x40]


def test_a_palette_with_transparency_is_read_without_a_warning(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    image = Image.new("P", (9, 9), 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    for i in range(5):
        image.save(tmp_path / "a" / f"{i}.png", transparency=bytes([0, 255]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pixels = _folder(tmp_path, "report").pixels([0])
    assert pixels.flatten(2).unique(dim=2).flatten().tolist() == [200, 100, 50]


def test_the_middle_is_kept_as_the_papers_keep_it(tmp_path: Path) -> None:
    """Resize to 256/224 of the side, bilinear, then the centre: torchvision's transforms at 224, to a grey level."""
    from torchvision import transforms  # noqa: PLC0415

    noise = np.random.default_rng(0).integers(0, 255, (50, 70, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    (tmp_path / "a").mkdir()
    for i in range(5):
        image.save(tmp_path / "a" / f"{i}.png")
    ours = open_data(DataRef(source="imagefolder", root=str(tmp_path)), "report", 224).pixels([0])[0]
    papers = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), transforms.PILToTensor()])
    assert (ours.int() - papers(image).int()).abs().max() <= 1


def test_an_image_that_cannot_be_read_is_named_in_one_line_also_from_a_worker(tmp_path: Path) -> None:
    root = _tree(tmp_path, ("a",), 20)
    images = _folder(root, "train")
    bad = root / images.ids[7]
    bad.write_bytes(bad.read_bytes()[:50])
    rows = torch.arange(12)
    for groups in ([rows], list(rows.split(3))):  # in this process, and in workers
        with pytest.raises(ConfigError) as error:
            list(batches(images, groups))
        assert str(error.value).startswith(f"root: {bad} cannot be read as an image (")
        assert "\n" not in str(error.value)


def test_batches_do_not_depend_on_workers_and_skip_empty_groups(tmp_path: Path) -> None:
    images = _folder(_tree(tmp_path, ("a", "b"), 10), "train")
    groups = [torch.tensor([3, 0]), torch.tensor([], dtype=torch.int64), torch.tensor([5])]
    found = list(batches(images, groups))
    assert [rows.tolist() for _, _, rows in found] == [[3, 0], [5]]
    for x, y, rows in found:
        assert torch.equal(x, images.pixels(rows.tolist()).float() / 255)
        assert torch.equal(y, images.labels[rows])
    assert list(batches(images, [])) == []


def test_sets_on_disk_can_be_sent_to_another_process(tmp_path: Path, cifar: Path) -> None:
    for images in (
        _folder(_tree(tmp_path / "t", ("a",), 10), "train"),
        open_data(DataRef(source="cifar10", root=str(cifar)), "train", 8),
    ):
        again = pickle.loads(pickle.dumps(images))
        assert torch.equal(again.pixels([1, 0]), images.pixels([1, 0]))


@pytest.mark.parametrize(
    ("make", "split", "says"),
    [
        (lambda root: None, "train", "expected a folder that exists"),
        (lambda root: root.mkdir(), "train", "found no image"),
        (lambda root: (root / "a").mkdir(parents=True), "train", "found no image"),
        (lambda root: _save(root / "loose.png"), "train", "found no image"),
        (lambda root: _tree(root / "train", ("a",), 3), "report", "expected a split to report beside 'train'"),
        (lambda root: _save(root / "a" / "0.png"), "selection", "enough images for a 'selection' split; found 1"),
    ],
)
def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path, make: Any, split: Any, says: str) -> None:
    root = tmp_path / "data"
    make(root)
    ref = DataRef(source="imagefolder", root=str(root))
    with pytest.raises(ConfigError) as error:
        check_data(ref, split, "config.train_data", 32)
    assert str(error.value).startswith("config.train_data.root: got ")
    assert str(root) in str(error.value)
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"source": "imagenet"}, "source: unknown value 'imagenet'"),
        ({"name": "harts"}, "did you mean 'hearts'?"),
        ({"source": "imagefolder"}, "root: got None, expected the folder of the imagefolder data"),
        ({"source": "cifar10", "root": ""}, "root: got ''"),
        ({"limit": 0}, "limit: got 0"),
    ],
)
def test_a_reference_that_cannot_be_is_refused_by_name(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as error:
        DataRef(**wrong)
    assert says in str(error.value)


def test_a_miniature_set_needs_a_model_of_its_size_and_only_the_source_can_be_trained_on() -> None:
    with pytest.raises(ConfigError, match=r"x\.source: got 'miniature', expected a model of 48 or 96 px, not 224 px"):
        check_data(DataRef(), "train", "x", 224)
    with pytest.raises(ConfigError, match="got 'train' for the miniature set 'hearts'"):
        check_data(DataRef(name="hearts"), "train", "x", miniature.IMAGE_SIZE)
    with pytest.raises(ConfigError, match="split: unknown value 'test'"):
        open_data(DataRef(), "test", miniature.IMAGE_SIZE)  # type: ignore[arg-type]


def test_a_set_is_called_by_its_name_its_folder_or_its_source(tmp_path: Path) -> None:
    assert DataRef().called == "source"
    assert DataRef(name="hearts").called == "hearts"
    assert DataRef(source="imagefolder", root=str(tmp_path / "pets" / ".." / "cars")).called == "cars"
    assert DataRef(source="imagefolder", root="x", name="pets").called == "pets"
    assert DataRef(source="cifar100", root="x").called == "cifar100"


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


@pytest.fixture
def cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """CIFAR-10 and CIFAR-100 in the format on disk, ten random images a file. The checksums that torchvision wants are
    set to those of these files; everything else is torchvision's own."""
    draw = np.random.default_rng(0)
    for kind, fine in ((datasets.CIFAR10, "labels"), (datasets.CIFAR100, "fine_labels")):
        folder = tmp_path / kind.base_folder
        folder.mkdir()
        lists: dict[str, list[list[str]]] = {}
        for which in ("train_list", "test_list"):
            lists[which] = []
            for name, _ in getattr(kind, which):
                labels = draw.integers(0, 10, 10).tolist()
                entry = {"data": draw.integers(0, 256, (10, 3072)).astype(np.uint8), fine: labels}
                (folder / name).write_bytes(pickle.dumps(entry, protocol=2))
                lists[which].append([name, _md5(folder / name)])
        names = [f"class_{i}" for i in range(10 if kind is datasets.CIFAR10 else 100)]
        meta = dict(kind.meta)
        (folder / meta["filename"]).write_bytes(pickle.dumps({meta["key"]: names}, protocol=2))
        meta["md5"] = _md5(folder / meta["filename"])
        for which, rows in lists.items():
            monkeypatch.setattr(kind, which, rows)
        monkeypatch.setattr(kind, "meta", meta)
    return tmp_path


@pytest.mark.parametrize(("source", "train"), [("cifar10", 50), ("cifar100", 10)])
def test_cifar_is_read_in_torchvisions_format_with_a_fifth_held_out(cifar: Path, source: Any, train: int) -> None:
    ref = DataRef(source=source, root=str(cifar))
    parts = {split: open_data(ref, split, 8) for split in ("train", "selection", "report")}
    assert {s: len(p.ids) for s, p in parts.items()} == {
        "train": int(0.8 * train), "selection": int(0.2 * train), "report": 10,
    }  # fmt: skip
    assert not set(parts["train"].ids) & set(parts["selection"].ids)
    assert all(i.startswith("test-") for i in parts["report"].ids)
    assert parts["train"].classes[3] == "class 3"
    whole = (datasets.CIFAR10 if source == "cifar10" else datasets.CIFAR100)(root=str(cifar), train=True)
    row = int(parts["selection"].ids[1].removeprefix("train-"))
    expected = torch.from_numpy(whole.data[row]).permute(2, 0, 1)
    full = open_data(ref, "selection", 32)
    assert torch.equal(full.pixels([1])[0], expected)
    assert int(full.labels[1]) == whole.targets[row]


def test_cifar_that_is_missing_or_damaged_is_named(cifar: Path, tmp_path: Path) -> None:
    batch = cifar / datasets.CIFAR10.base_folder / "data_batch_1"
    batch.write_bytes(batch.read_bytes()[:-1])
    for root in (cifar, tmp_path / "nowhere"):
        with pytest.raises(ConfigError, match=r"t\.root: .* holds no cifar10"):
            check_data(DataRef(source="cifar10", root=str(root)), "train", "t", 32)
