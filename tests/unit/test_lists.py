"""Class lists and word lists: read as meant, or refused with file and line; a label never moves."""

from __future__ import annotations

import io
import tarfile
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from zsr_core.codec import ConfigError
from zsr_core.data import DataRef, ImageSet, open_data
from zsr_core.data.lists import names_in, words_of

NAMES = ("tabby cat", "café", "bird")
CLEAN = "\n".join(NAMES) + "\n"


@pytest.mark.parametrize(
    "content",
    [
        CLEAN.encode(),
        CLEAN.rstrip().encode(),
        CLEAN.encode("utf-8-sig"),
        CLEAN.replace("\n", "\r\n").encode(),
        CLEAN.replace("\n", "\r").encode(),
        CLEAN.encode("utf-16"),
        (CLEAN + "\n \n\n").encode(),
        CLEAN.replace("bird", "  bird\t").encode(),
        unicodedata.normalize("NFD", CLEAN).encode(),
    ],
)
def test_a_class_list_is_read_whatever_system_wrote_it(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "classnames.txt").write_bytes(content)
    assert names_in(tmp_path / "classnames.txt") == NAMES


@pytest.mark.parametrize("odd", ["ice\u2028cream", "ice\x85cream", "ice\x0bcream", "ice\x1ccream"])
def test_only_line_ends_of_files_end_a_line(odd: str, tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text(f"cat\n{odd}\ndog\n", encoding="utf-8")
    assert names_in(tmp_path / "c.txt") == ("cat", odd, "dog")


@pytest.mark.parametrize(
    ("content", "line", "says"),
    [
        (b"cat\n\ndog\n", 2, "a blank line would move all names after it"),
        (b"\ncat\ndog\n", 1, "a blank line would move"),
        (b"cat\ndog\ncat\n", 3, "every name once; it is also in line 1"),
        ("café\ncafe\u0301\n".encode(), 2, "every name once"),
        (b"cat\ncaf\xe9\n", 2, "the byte 0xe9', expected text in UTF-8"),
        (b"cat\nd\0o\0g\0\n", 2, "zero bytes"),
        (b"0\tcat\n1\tdog\n", 1, "a class name alone, without a tab"),
    ],
)
def test_a_class_list_that_could_move_labels_is_refused_with_its_line(
    content: bytes, line: int, says: str, tmp_path: Path
) -> None:
    file = tmp_path / "classnames.txt"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as error:
        names_in(file)
    assert str(error.value).startswith(f"root: {file}, line {line}: got ")
    assert says in str(error.value)


def test_an_empty_list_is_refused(tmp_path: Path) -> None:
    for content in ("", "\n \n", "\ufeff"):
        (tmp_path / "c.txt").write_text(content, encoding="utf-8")
        with pytest.raises(ConfigError, match="the file has none"):
            names_in(tmp_path / "c.txt")


def test_blanks_stand_for_the_tab_of_a_word_list_where_the_id_is_known(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_bytes(b"\xef\xbb\xbfn01440764   tench, Tinca tinca\r\n\r\nmy id goldfish\r\nmy\tcat\r\n")
    assert words_of(file, ("my id",)) == {"n01440764": "tench", "my id": "goldfish", "my": "cat"}


@pytest.mark.parametrize(
    ("content", "line"),
    [("n01440764\n", 1), ("a\tcat\nb\t\n", 2), ("a\tcat\n\tdog\n", 2), ("just some words\n", 1), ("a\tx\na\ty\n", 2)],
)
def test_a_word_list_that_names_nothing_is_refused_with_its_line(content: str, line: int, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=f"words.txt, line {line}: got "):
        words_of(tmp_path / "words.txt")


def _folder(root: Path, name: str, n: int = 5) -> None:
    (root / name).mkdir(parents=True)
    for i in range(n):
        Image.new("RGB", (6, 6), (i, 0, 0)).save(root / name / f"{i}.png")


def _report(root: Path, source: str = "imagefolder") -> ImageSet:
    return open_data(DataRef(source=source, root=str(root)), "report", 8)  # type: ignore[arg-type]


def test_composed_and_decomposed_folder_names_are_one_class(tmp_path: Path) -> None:
    for part, form in (("train", "NFC"), ("val", "NFD")):
        for name in ("bird", "café"):
            _folder(tmp_path / part, unicodedata.normalize(form, name))
    (tmp_path / "words.txt").write_text(unicodedata.normalize("NFD", "café\tcoffee house\nbird\tbird\n"))
    images = _report(tmp_path)
    assert images.classes == ("bird", "coffee house")
    assert images.labels.tolist() == [0] * 5 + [1] * 5
    _folder(tmp_path / "train", unicodedata.normalize("NFD", "café"))
    with pytest.raises(ConfigError, match="two Unicode forms"):
        _report(tmp_path)


def test_two_folders_that_are_called_alike_are_named(tmp_path: Path) -> None:
    for name in ("n1", "n2", "n3"):
        _folder(tmp_path, name)
    (tmp_path / "words.txt").write_text("n1\tcrane\nn2\tcrane, bird\n")
    with pytest.raises(ConfigError, match=r"words\.txt calls the classes 'n1' and 'n2' both 'crane'"):
        _report(tmp_path)
    (tmp_path / "words.txt").write_text("n1\tcrane\nn2\tcrane bird\n")
    assert _report(tmp_path).notes[-1] == "1 classes have no line in words.txt, first 'n3'"


def _shard(root: Path, labels: list[str], end: str = "png") -> None:
    picture = io.BytesIO()
    Image.new("RGB", (6, 6)).save(picture, "PNG")
    with tarfile.open(root / "test-0.tar", "w") as archive:
        for i, label in enumerate(labels):
            for name, content in ((f"{i}.{end}", picture.getvalue()), (f"{i}.cls", label.encode())):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ("cat\n\ndog\nbird\n", r"classnames\.txt, line 2: got ''"),
        ("class names\ncat\ndog\nbird\n", r"expected 3 names, since the largest label is 2; it lists 4, .* 'bird'"),
        ("cat\ndog\n", "one of the 2 classes, not 2"),
    ],
)
def test_a_list_of_another_length_than_the_labels_is_refused(names: str, says: str, tmp_path: Path) -> None:
    _shard(tmp_path, ["0", "1", "2"])
    (tmp_path / "classnames.txt").write_text(names)
    with pytest.raises(ConfigError, match=says):
        _report(tmp_path, "webdataset")


def test_labels_that_are_names_may_leave_listed_names_without_images_and_are_composed(tmp_path: Path) -> None:
    _shard(tmp_path, [unicodedata.normalize("NFD", "café"), "bird"])
    (tmp_path / "classnames.txt").write_text("bird\r\ncafé\r\ndog\r\n")
    assert _report(tmp_path, "webdataset").labels.tolist() == [1, 0]


def test_samples_whose_pictures_are_not_read_are_said(tmp_path: Path) -> None:
    _shard(tmp_path, ["a", "b"], end="jfif")
    with pytest.raises(ConfigError, match=r"found none; 2 files are not read as images: 2 of \.jfif"):
        _report(tmp_path, "webdataset")
