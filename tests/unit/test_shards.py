"""Tar shards as webdataset writes them and folders as Hugging Face ``datasets`` saves them, made here by hand."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from zsr_core.codec import ConfigError
from zsr_core.data import DataRef, ImageSet, batches, check_data, open_data, set_size, task_ref

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

NAMES = ("tabby_cat", "dog", "Bird")


def _bytes(value: int, kind: str = "PNG", mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.new(mode, (12, 10), {"RGB": (value, 7, 0), "L": value, "CMYK": (0, 0, 0, 255 - value)}[mode]).save(file, kind)
    return file.getvalue()


def _tar(file: Path, members: Sequence[tuple[str, bytes]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def _samples(first: int, n: int, label: Callable[[int], tuple[str, bytes]] | None = None) -> list[tuple[str, bytes]]:
    """Sample i has red 10 i and class i modulo 3."""
    said = label or (lambda i: ("cls", str(i % 3).encode()))
    found: list[tuple[str, bytes]] = []
    for i in range(first, first + n):
        end, text = said(i)
        found += [(f"s{i:04d}.png", _bytes(10 * i)), (f"s{i:04d}.{end}", text)]
    return found


def _names(root: Path) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / "classnames.txt").write_text("\n".join(NAMES) + "\n", encoding="utf-8")
    return root


def _saved(folder: Path, pieces: Sequence[Sequence[tuple[Any, int]]], **info: Any) -> Path:
    """A data set as ``Dataset.save_to_disk`` leaves it: a stream per shard, the types in two JSON files."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"data-{i:05d}-of-{len(pieces):05d}.arrow" for i in range(len(pieces))]
    features = {"image": {"_type": "Image"}, "label": {"names": list(NAMES), "_type": "ClassLabel"}}
    features = info.pop("features", features)
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    about = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    schema = pa.schema({"image": kind, "label": pa.int64()}, metadata=about)
    for name, rows in zip(names, pieces, strict=True):
        table = pa.table({"image": [c for c, _ in rows], "label": [y for _, y in rows]}, schema=schema)
        with pa.OSFile(str(folder / name), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
            writer.write_table(table)
    (folder / "dataset_info.json").write_text(
        json.dumps({"citation": "", "description": "", "features": features, "homepage": "", "license": ""}, indent=2)
    )
    state = {
        "_data_files": [{"filename": name} for name in names], "_fingerprint": "0123456789abcdef",
        "_format_columns": None, "_format_kwargs": {}, "_format_type": None, "_output_all_columns": False,
        "_split": None,
    }  # fmt: skip
    (folder / "state.json").write_text(json.dumps({**state, **info}, indent=2, sort_keys=True))
    return folder


def _cells(first: int, n: int) -> list[tuple[Any, int]]:
    return [({"bytes": _bytes(10 * i), "path": f"{i}.png"}, i % 3) for i in range(first, first + n)]


def _open(source: Any, root: Path, split: Any, **changes: Any) -> ImageSet:
    return open_data(DataRef(source=source, root=str(root), **changes), split, 8)


def _reds(images: ImageSet) -> list[int]:
    return [int(x[0, 4, 4]) for x in images.pixels(range(len(images.labels)))]


def _flat(source: str, root: Path) -> Path:
    if source == "webdataset":
        _tar(_names(root) / "set-000000.tar", _samples(0, 12))
        _tar(root / "set-000001.tar", _samples(12, 8))
        return root
    return _saved(root, [_cells(0, 12), _cells(12, 8)])


def _split(source: str, root: Path) -> Path:
    parts = {"train": (0, 15), "validation": (15, 4), "test": (19, 3)}
    for name, (first, n) in parts.items():
        if source == "webdataset":
            _tar(root / name / "0.tar", _samples(first, n))
        else:
            _saved(root / name, [_cells(first, n)])
    if source == "webdataset":
        _names(root)
    else:
        (root / "dataset_dict.json").write_text(json.dumps({"splits": list(parts)}))
    return root


@pytest.mark.parametrize("source", ["webdataset", "huggingface"])
def test_a_folder_without_splits_is_cut_into_three_disjoint_stable_parts(source: str, tmp_path: Path) -> None:
    root = _flat(source, tmp_path / "set")
    parts = [_open(source, root, split) for split in ("train", "selection", "report")]
    assert [len(images.ids) for images in parts] == [12, 4, 4]
    reds = [_reds(images) for images in parts]
    assert sorted(red for found in reds for red in found) == [10 * i for i in range(20)]
    for images, found in zip(parts, reds, strict=True):
        assert images.classes == ("tabby cat", "dog", "bird")
        assert images.labels.tolist() == [red // 10 % 3 for red in found]
    assert len({images.key for images in parts}) == 3
    assert parts[0].key == _open(source, root, "train").key
    assert set_size(DataRef(source=source, root=str(root)), "train", 8).images == 12  # type: ignore[arg-type]


@pytest.mark.parametrize("source", ["webdataset", "huggingface"])
def test_the_folder_s_own_splits_are_kept_and_a_fifth_of_train_selects(source: str, tmp_path: Path) -> None:
    root = _split(source, tmp_path / "set")
    train, selection, report = (_open(source, root, split) for split in ("train", "selection", "report"))
    assert (len(train.ids), len(selection.ids)) == (12, 3)
    assert sorted(_reds(train) + _reds(selection)) == [10 * i for i in range(15)]
    assert _reds(report) == [150, 160, 170, 180]  # validation, not test
    assert report.labels.tolist() == [0, 1, 2, 0]
    assert task_ref("set", tmp_path) == DataRef(source=source, root=str(root))  # type: ignore[arg-type]


@pytest.mark.parametrize("source", ["webdataset", "huggingface"])
def test_pictures_travel_to_workers_and_into_the_cache(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = _flat(source, tmp_path / "set")
    images = pickle.loads(pickle.dumps(_open(source, root, "train")))
    groups = list(torch.randperm(12, generator=torch.Generator().manual_seed(0)).split(5))
    plain = [x for x, _, _ in batches(images, groups)]
    monkeypatch.setenv("ZSR_CACHE", str(tmp_path / "kept"))
    kept = [x for x, _, _ in batches(_open(source, root, "train"), groups)]
    assert all(torch.equal(a, b) for a, b in zip(plain, kept, strict=True))
    assert [int(v) for v in (plain[0][:, 0, 4, 4] * 255).round()] == [_reds(images)[row] for row in groups[0].tolist()]


@pytest.mark.parametrize("source", ["webdataset", "huggingface"])
def test_only_test_can_be_reported_and_not_trained_on(source: str, tmp_path: Path) -> None:
    root = tmp_path / "set"
    if source == "webdataset":
        _tar(_names(root) / "test" / "0.tar", _samples(0, 4))
    else:
        _saved(root / "test", [_cells(0, 4)])
        (root / "dataset_dict.json").write_text('{"splits": ["test"]}')
    assert _reds(_open(source, root, "report")) == [0, 10, 20, 30]
    with pytest.raises(ConfigError, match="expected a folder with a split 'train'; it has only test"):
        _open(source, root, "train")


@pytest.mark.parametrize("source", ["webdataset", "huggingface"])
def test_a_picture_that_cannot_be_decoded_is_named_or_skipped(source: str, tmp_path: Path) -> None:
    bad = _bytes(50)[:40]
    if source == "webdataset":
        _tar(_names(tmp_path) / "0.tar", [*_samples(0, 19), ("bad.png", bad), ("bad.cls", b"1")])
        place = f"{tmp_path}/0.tar:bad.png"
    else:
        _saved(tmp_path, [_cells(0, 10), [*_cells(10, 9), ({"bytes": bad, "path": None}, 1)]])
        place = f"{tmp_path}/data-00001-of-00002.arrow[9].image"
    for split in ("train", "selection", "report"):
        whole = _open(source, tmp_path, split)
        kept = _open(source, tmp_path, split, on_corrupt="skip")
        if kept.skipped:
            assert len(kept.labels) == len(whole.labels) - 1 == len(_reds(kept))
            with pytest.raises(ConfigError) as error:
                _reds(whole)
            assert str(error.value).startswith(f"root: {place} cannot be read as an image (")
            return
    raise AssertionError("nothing was skipped")


def test_grey_cmyk_and_one_pixel_pictures_become_rgb(tmp_path: Path) -> None:
    dot = io.BytesIO()
    Image.new("RGB", (1, 1), (9, 7, 0)).save(dot, "PNG")
    pictures = [_bytes(64, "JPEG", "L"), _bytes(80, "JPEG", "CMYK"), dot.getvalue()]
    _tar(_names(tmp_path / "w") / "test-0.tar", [
        (f"{i}.{end}", content)
        for i, p in enumerate(pictures) for end, content in (("jpg", p), ("cls", str(i).encode()))
    ])  # fmt: skip
    _saved(tmp_path / "h" / "test", [[({"bytes": p, "path": None}, 0) for p in pictures]])
    (tmp_path / "h" / "dataset_dict.json").write_text('{"splits": ["test"]}')
    seen = [_open("webdataset", tmp_path / "w", "report"), _open("huggingface", tmp_path / "h", "report")]
    reds = [_reds(images) for images in seen]
    assert reds[0] == reds[1]
    assert np.allclose(reds[0], [64, 80, 9], atol=2)


def test_a_sample_s_json_names_its_class_and_names_need_no_list(tmp_path: Path) -> None:
    def said(i: int) -> tuple[str, bytes]:
        return "json", json.dumps({"caption": "x", "label": NAMES[i % 3]}).encode()

    _tar(tmp_path / "set" / "test" / "0.tar", _samples(0, 6, said))
    images = _open("webdataset", tmp_path / "set", "report")
    assert images.classes == ("bird", "dog", "tabby cat")
    assert [images.classes[y] for y in images.labels.tolist()] == ["tabby cat", "dog", "bird"] * 2
    assert images.ids[0] == "test/0.tar:s0000.png"


def test_folders_masks_and_files_without_a_picture_are_no_samples(tmp_path: Path) -> None:
    members = [("a/1.mask.png", _bytes(255)), ("a/1.JPEG", _bytes(40, "JPEG")), ("a/1.cls", b"2"), ("b/1.txt", b"no")]
    _tar(_names(tmp_path) / "test" / "0.tar", members)
    images = _open("webdataset", tmp_path, "report")
    assert images.ids == ("test/0.tar:a/1.JPEG",)
    assert abs(_reds(images)[0] - 40) < 4


def _wrong_class(root: Path) -> None:
    _tar(_names(root) / "0.tar", _samples(0, 6, lambda i: ("cls", b"3")))


def _no_names(root: Path) -> None:
    _tar(root / "0.tar", _samples(0, 6))


def _no_label(root: Path) -> None:
    _tar(_names(root) / "0.tar", [("1.png", _bytes(1)), ("1.txt", b"a cat")])


def _bad_json(root: Path) -> None:
    _tar(_names(root) / "0.tar", _samples(0, 6, lambda i: ("json", b"{")))


def _json_without_class(root: Path) -> None:
    _tar(_names(root) / "0.tar", _samples(0, 6, lambda i: ("json", b'{"caption": "cat"}')))


def _cut(root: Path, to: Callable[[int], int]) -> None:
    _tar(_names(root) / "0.tar", _samples(0, 6))
    content = (root / "0.tar").read_bytes()
    (root / "0.tar").write_bytes(content[: to(len(content))])


def _packed(root: Path) -> None:
    _names(root)
    (root / "0.tar.gz").write_bytes(b"\x1f\x8b")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (_wrong_class, r"0\.tar:s0000\.png', expected one of the 3 classes, not 3"),
        (_no_names, r"has no classnames\.txt, expected the class names, one a line: s0000\.png says class 0"),
        (_no_label, r"0\.tar:1\.png', expected a \.cls or \.json beside it; there is png, txt"),
        (_bad_json, r"0\.tar:s0000\.png is not JSON"),
        (_json_without_class, r"0\.tar:s0000\.png', expected its class, a number or a name, as label, cls"),
        (lambda root: _cut(root, lambda n: 3000), r"0\.tar cannot be read as a tar file \(unexpected end of data\)"),
        (lambda root: _cut(root, lambda n: 12 * 1024), r"0\.tar cannot be read as a tar file \(it ends early"),
        (lambda root: _cut(root, lambda n: 0), r"0\.tar cannot be read as a tar file"),
        (_packed, r"expected shards that end in \.tar; unpack 0\.tar\.gz first"),
        (lambda root: root.mkdir(), r"expected shards that end in \.tar"),
    ],
)
def test_shards_that_cannot_be_used_are_named(make: Callable[[Path], None], says: str, tmp_path: Path) -> None:
    make(tmp_path / "set")
    with pytest.raises(ConfigError, match=rf"^config\.train_data\.root: .*{tmp_path}.*{says}"):
        check_data(DataRef(source="webdataset", root=str(tmp_path / "set")), "train", "config.train_data", 8)


def _rewritten(root: Path, file: str, **fields: Any) -> None:
    plain = json.loads((root / file).read_text())
    (root / file).write_text(json.dumps({**plain, **fields}))


LABEL = {"names": list(NAMES), "_type": "ClassLabel"}
ONE = {"names": ["cat"], "_type": "ClassLabel"}
TEXT = {"dtype": "int64", "_type": "Value"}


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda r: (r / "state.json").unlink(), r"state\.json', expected a file of what datasets' save_to_disk"),
        (lambda r: (r / "dataset_info.json").write_text("{"), r"dataset_info\.json is not JSON"),
        (
            lambda r: _rewritten(r, "dataset_info.json", features={"image": {"_type": "Image"}, "label": TEXT}),
            r"expected a feature of type ClassLabel; it has image \(Image\), label \(Value\)",
        ),
        (
            lambda r: _rewritten(r, "dataset_info.json", features={"img": {"_type": "Image"}, "label": LABEL}),
            r"\.arrow', expected a column 'img' as dataset_info\.json says",
        ),
        (
            lambda r: _rewritten(r, "dataset_info.json", features={"image": {"_type": "Image"}, "label": ONE}),
            r"data-00000-of-00001\.arrow\[1\]\.label is 1, expected one of its 1 classes",
        ),
        (lambda r: (r / "data-00000-of-00001.arrow").unlink(), r"arrow', expected a file, as state\.json lists it"),
        (lambda r: (r / "data-00000-of-00001.arrow").write_bytes(b"x" * 50), r"cannot be read as an Arrow stream"),
        (lambda r: _rewritten(r, "state.json", _data_files=[]), r"state\.json', expected _data_files: the Arrow files"),
        (
            lambda r: _rewritten(r, "state.json", _indices_data_files=[{"filename": "i.arrow"}]),
            r"expected rows in the order of the files; save it again with a newer datasets",
        ),
        (lambda r: (r / "dataset_dict.json").write_text('{"splits": 3}'), r"expected splits: a list of names"),
    ],
)  # fmt: skip
def test_a_saved_folder_that_cannot_be_used_is_named(harm: Callable[[Path], Any], says: str, tmp_path: Path) -> None:
    root = _saved(tmp_path / "set", [_cells(0, 6)])
    harm(root)
    with pytest.raises(ConfigError, match=rf"^config\.train_data\.root: .*{tmp_path}.*{says}"):
        check_data(DataRef(source="huggingface", root=str(root)), "train", "config.train_data", 8)


def _hub(root: Path, features: dict[str, Any], labels: Callable[[int], Any], kind: pa.DataType) -> Path:
    """A data set as the hub keeps it: Parquet files whose schema says the types, some pictures a row group."""
    types = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    about = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    schema = pa.schema({"image": types, "label": kind}, metadata=about)
    (root / "data").mkdir(parents=True)
    for name, (first, n) in {
        "train-00000-of-00002": (0, 9), "train-00001-of-00002": (9, 6), "test-00000-of-00001": (15, 4),
    }.items():  # fmt: skip
        rows = range(first, first + n)
        cells = [{"bytes": _bytes(10 * i), "path": None} for i in rows]
        table = pa.table({"image": cells, "label": [labels(i) for i in rows]}, schema=schema)
        pq.write_table(table, root / "data" / f"{name}.parquet", row_group_size=4)
    return root


NUMBERED = {"image": {"_type": "Image"}, "label": {"names": list(NAMES), "_type": "ClassLabel"}}
NAMED = {"image": {"_type": "Image"}, "label": {"dtype": "string", "_type": "Value"}}


@pytest.mark.parametrize(
    ("features", "labels", "kind"),
    [(NUMBERED, lambda i: i % 3, pa.int64()), (NAMED, lambda i: sorted(NAMES)[i % 3], pa.string())],
    ids=["numbers", "names"],
)
def test_parquet_files_of_the_hub_are_read_row_group_by_row_group(
    features: dict[str, Any], labels: Callable[[int], Any], kind: pa.DataType, tmp_path: Path
) -> None:
    root = _hub(tmp_path / "hub", features, labels, kind)
    parts = {split: _open("huggingface", root, split) for split in ("train", "selection", "report")}
    assert {split: len(images.ids) for split, images in parts.items()} == {"train": 12, "selection": 3, "report": 4}
    for images in parts.values():
        assert images.labels.tolist() == [red // 10 % 3 for red in _reds(images)]
    spoken = NAMES if features is NUMBERED else sorted(NAMES)
    assert parts["report"].classes == tuple(name.lower().replace("_", " ") for name in spoken)
    assert task_ref("hub", tmp_path).source == "huggingface"
    (root / "data" / "test-00000-of-00001.parquet").write_bytes(b"PAR1")
    with pytest.raises(ConfigError, match="holds Parquet files that cannot be read"):
        _open("huggingface", root, "report")


def test_labels_that_are_text_are_classes_by_name(tmp_path: Path) -> None:
    root = _hub(tmp_path / "hub", NAMED, lambda i: "cat" if i < 15 else "bird", pa.string())
    with pytest.raises(ConfigError, match=r"label is bird, expected one of its 1 classes"):
        _open("huggingface", root, "report")


def test_a_saved_folder_that_is_damaged_or_mended_later_is_seen_as_it_is(tmp_path: Path) -> None:
    root = _saved(tmp_path / "set", [_cells(0, 6), _cells(6, 6)])
    whole = _open("huggingface", root, "train").ids
    file = root / "data-00001-of-00002.arrow"
    content = file.read_bytes()
    file.unlink()
    with pytest.raises(ConfigError, match=r"arrow', expected a file, as state\.json lists it"):
        _open("huggingface", root, "train")
    offsets = np.cumsum([0, *(len(_bytes(10 * i)) for i in range(6, 12))]).astype(np.int32).tobytes()
    assert content.count(offsets) == 1
    file.write_bytes(content.replace(offsets, offsets[:-8] + np.array([2**30, 2**30], dtype=np.int32).tobytes()))
    with pytest.raises(ConfigError, match="cannot be read as an Arrow stream"):
        _open("huggingface", root, "train")
    file.write_bytes(content)
    assert _open("huggingface", root, "train").ids == whole


def test_a_cell_without_bytes_is_read_from_its_path(tmp_path: Path) -> None:
    (tmp_path / "one.png").write_bytes(_bytes(120))
    _saved(tmp_path / "test", [[({"bytes": None, "path": str(tmp_path / "one.png")}, 0), ({"bytes": None}, 1)]])
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["test"]}')
    images = _open("huggingface", tmp_path, "report")
    assert int(images.pixels([0])[0, 0, 4, 4]) == 120
    with pytest.raises(ConfigError, match=r"\[1\]\.image cannot be read as an image \(neither bytes nor a path\)"):
        images.pixels([1])


@pytest.fixture
def bucket(tmp_path: Path) -> Any:
    """fsspec's storage in memory, with a folder of shards."""
    fsspec = pytest.importorskip("fsspec")
    storage = fsspec.filesystem("memory")
    _flat("webdataset", tmp_path / "here")
    for file in (tmp_path / "here").iterdir():
        storage.pipe(f"/bucket/pets/{file.name}", file.read_bytes())
    yield storage
    storage.rm("/bucket", recursive=True)


def test_a_set_in_object_storage_is_copied_once(bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ref = DataRef(source="webdataset", root="memory://bucket/pets")
    with pytest.raises(ConfigError, match=r"^x\.root: got 'memory://bucket/pets', expected .* ZSR_CACHE"):
        check_data(ref, "train", "x", 8)
    monkeypatch.setenv("ZSR_CACHE", str(tmp_path / "kept"))
    images = open_data(ref, "train", 8)
    assert images.name == "pets"
    assert len(images.ids) == 12
    assert [red // 10 % 3 for red in _reds(images)] == images.labels.tolist()
    bucket.rm("/bucket/pets/classnames.txt")
    assert open_data(ref, "train", 8).ids == images.ids  # not asked again


def test_a_copy_that_broke_off_is_none(bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZSR_CACHE", str(tmp_path / "kept"))
    ref = DataRef(source="webdataset", root="memory://bucket/pets")
    kind, get = type(bucket), type(bucket).get_file

    def broken(self: Any, name: str, file: str) -> None:
        if name.endswith(".tar"):
            raise OSError("the line is down")
        get(self, name, file)

    with monkeypatch.context() as patch:
        patch.setattr(kind, "get_file", broken)
        with pytest.raises(
            ConfigError, match=r"^root: memory://bucket/pets cannot be copied to .* \(the line is down\)"
        ):
            open_data(ref, "train", 8)
    assert len(open_data(ref, "train", 8).ids) == 12
    with pytest.raises(ConfigError, match=r"root: got 'memory://bucket/none', expected a folder that holds files"):
        open_data(DataRef(source="webdataset", root="memory://bucket/none"), "train", 8)
    with pytest.raises(ConfigError, match=r"root: nosuch://a/b cannot be copied to .*nosuch"):
        open_data(DataRef(source="webdataset", root="nosuch://a/b"), "train", 8)
