"""The papers' numbers: all are read, every name maps to ours or says why not, a bad row is named by line and field."""

from __future__ import annotations

import statistics
import tomllib
from pathlib import Path

import pytest

import zsr_core
from zsr_core.codec import ConfigError
from zsr_core.defences import Ttc
from zsr_core.methods import METHODS
from zsr_core.published import SOURCES, UNTOUCHED, Published, published, published_numbers, read_published
from zsr_core.published.names import AVERAGES, CHECKPOINTS
from zsr_core.published.rows import COLUMNS, FILE

GOOD = "CompTGA-2026,I,CLIP,PGD-100,1,CIFAR10,robust_acc,2.42,"


def _file(folder: Path, *rows: str, header: str = ",".join(COLUMNS)) -> Path:
    path = folder / "results.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def test_every_shipped_number_is_read() -> None:
    assert len(published_numbers()) == 3278
    assert {row.source for row in published_numbers()} == set(SOURCES)


def test_a_number_has_all_our_names_or_says_what_is_missing() -> None:
    for row in published_numbers():
        named = row.method is not None and row.tasks and row.profile is not None and row.metric in ("clean", "robust")
        assert named or row.why, row
        assert not (named and row.why), row


def test_methods_are_called_by_their_own_titles() -> None:
    ours = {method.title for method in METHODS} | {UNTOUCHED, Ttc.title}
    assert {row.method for row in published_numbers()} - {None} <= ours


def test_fields_of_a_number_are_fields_of_its_method() -> None:
    known = {method.title: set(method.__dataclass_fields__) for method in METHODS}
    for row in published_numbers():
        if row.fields and row.method is not None:
            assert set(row.fields) <= known[row.method], row


def test_clean_numbers_have_no_budget_and_robust_ones_have_one() -> None:
    for row in published_numbers():
        if not row.why:
            assert (row.eps == (0.0,)) == (row.metric == "clean"), row
            assert row.eps, row


def test_printed_means_are_the_means_of_their_sets_but_for_five() -> None:
    """The five are those that a recount by hand finds; VI, VII and IX print four of them again."""
    off = set()
    for row in published_numbers():
        if (row.source, row.dataset) not in AVERAGES or row.profile is None or row.metric not in ("clean", "robust"):
            continue
        sets = {
            other.task: other.value
            for other in published_numbers()
            if (other.source, other.table, other.printed, other.attack, other.eps, other.metric)
            == (row.source, row.table, row.printed, row.attack, row.eps, row.metric)
        }
        values = [sets[task] for task in row.tasks if task in sets]
        if len(values) == len(row.tasks) and abs(statistics.fmean(values) - row.value) > 0.03:
            off.add((row.source, row.table, row.method, row.value))
    assert off == {
        ("CompTGA-2026", "II", "TGA-ZSR", 56.44), ("CompTGA-2026", "VI", "TGA-ZSR", 56.44),
        ("CompTGA-2026", "VII", "TGA-ZSR", 56.44), ("CompTGA-2026", "IV", "TGA-ZSR", 41.24),
        ("CompTGA-2026", "VI", "TGA-ZSR", 41.24), ("CompTGA-2026", "IV", "CLIP", 3.64),
        ("CompTGA-2026", "IV", "FT-Clean", 2.2), ("CompTGA-2026", "A5", "PMG-AFT", 0.82),
    }  # fmt: skip


def test_the_headline_of_tga_zsr_is_found_by_our_names_and_by_printed_ones() -> None:
    (row,) = published(method="TGA-ZSR", task="Average16", attack="PGD-100", eps=1 / 255, table="I")
    assert (row.value, row.std, row.profile) == (42.09, 0.12, "pgd100-tga")
    assert row in published(method="TGA-ZSR", attack="pgd100-tga", metric="robust", source="CompTGA-2026")
    assert published(method="AGFT", task="cifar10", rows=published(source="AGFT-2026"))


def test_autoattack_of_tga_zsr_stands_on_other_weights_than_its_pgd() -> None:
    def fields(attack: str, table: str) -> object:
        (row,) = published(method="TGA-ZSR", task="Average16", attack=attack, table=table, source="CompTGA-2026")
        return row.fields

    main, other = {"alpha": 0.08, "beta": 0.05}, {"alpha": 0.08, "beta": 0.009}
    assert fields("PGD-100", "I") == fields("none", "II") == fields("PGD-100", "VI") == fields("none", "VI") == main
    assert fields("AutoAttack", "III") == fields("AutoAttack", "VI") == fields("none", "A6") == other
    assert fields("Adaptive", "V") is None
    assert all(published(method=c.method, source=c.source, table=table) for c in CHECKPOINTS for table in c.tables)


def test_a_mean_over_budgets_is_no_number_of_one_budget() -> None:
    means = published(source="CompTGA-2026", table="A4")
    assert {row.eps for row in means} == {(1 / 255, 2 / 255, 4 / 255)}
    assert not published(table="A4", eps=1 / 255)


def test_cifar_is_attacked_at_its_own_resolution_where_the_paper_did() -> None:
    assert {row.space for row in published(source="AGFT-2026", task="cifar10")} == {"native"}
    assert {row.space for row in published(source="CompTGA-2026", task="cifar10")} == {"model_input"}
    assert {row.space for row in published(source="AGFT-2026", task="Average15")} == {None}


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"method": "TGA-ZRS"}, "method: unknown value 'TGA-ZRS'.*did you mean 'TGA-ZSR'"),
        ({"task": "cifar-10"}, "task: unknown value 'cifar-10'.*did you mean 'cifar10'"),
        ({"attack": "pgd100_tga"}, "attack: unknown value.*did you mean 'pgd100-tga'"),
        ({"metric": "acc"}, "metric: unknown value 'acc'"),
        ({"source": "TGA"}, "source: unknown value 'TGA'"),
    ],
)
def test_a_name_that_no_number_has_is_refused_with_the_nearest(asked: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        published(**asked)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("2.42", "2,42", "line 3: got"),
        ("2.42", "NaN", "line 3, value: got 'NaN', expected a number"),
        ("2.42", "-1", "line 3, value: got '-1'"),
        ("2.42", "142", "line 3, value: got '142', expected at most 100"),
        ("2.42", "", "line 3, value: got '', expected a value"),
        ("2.42,", "2.42,x", "line 3, std: got 'x'"),
        ("CIFAR10", "CIFAR-10", "line 3, dataset: unknown value 'CIFAR-10'.*did you mean 'CIFAR10'"),
        ("CIFAR10", "Average15", "line 3, dataset: unknown value 'Average15'"),
        ("PGD-100", "PGD-20", "line 3, attack: unknown value 'PGD-20'"),
        ("CLIP", "CLOP", "line 3, method: unknown value 'CLOP'.*did you mean 'CLIP'"),
        ("CLIP", "TGA-ZSR[gamma=1]", "line 3, method: unknown value 'gamma'"),
        ("CLIP", "TGA-ZSR[upside down]", "line 3, method: unknown value 'upside down'"),
        ("robust_acc", "robust", "line 3, metric: unknown value 'robust'.*did you mean 'robust_acc'"),
        (",1,", ",eps1,", "line 3, eps_255: got 'eps1'"),
        ("CompTGA-2026", "CompTGA", "line 3, source: unknown value 'CompTGA'"),
        (",I,", ",I(guessed),", "line 3, table: unknown value 'guessed'"),
        (",robust_acc,2.42,", "", "line 3: got"),
        ("CLIP", "TeCoA", "each number once; line 2 has it already"),
    ],
)
def test_a_malformed_row_is_named_by_file_line_and_field(tmp_path: Path, old: str, new: str, words: str) -> None:
    path = _file(tmp_path, GOOD.replace("CLIP", "TeCoA"), GOOD.replace(old, new))
    with pytest.raises(ConfigError, match=words) as caught:
        read_published(path)
    assert str(path) in str(caught.value)


def test_other_columns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="line 1: got"):
        read_published(_file(tmp_path, GOOD, header="source,table"))


def test_the_numbers_are_packaged_with_the_code() -> None:
    root = Path(zsr_core.__file__).parents[1]
    tool = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    assert "zsr_core.published" in tool["packages"]
    assert FILE.name in tool["package-data"]["zsr_core.published"]


def test_a_number_says_where_it_is_printed() -> None:
    row: Published = published(method="CAW")[0]
    assert row.place == "CAW-2025, table main"
