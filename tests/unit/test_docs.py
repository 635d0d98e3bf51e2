"""What README.md and the pages under docs/ tell a reader works: every command and every block of code.

The info string of a code block says how it is checked:

    sh                 each command line is read by the parser that would read it
    python             run, in a folder with a small study in results/tga_alpha_beta and pictures in pictures/
    python file PATH   equal to that file
    python write PATH  written there by the reader: a sweep, which is planned here, and run where tests may be slow
    python compiled: REASON   compiled; what it imports is there and takes the keywords that it is given
    text tree FOLDER   files that the code names
    text shows: REASON
    bibtex             version and licence are the package's
"""

from __future__ import annotations

import ast
import builtins
import importlib
import importlib.util
import inspect
import re
import shlex
import sqlite3
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from sweeps.engine import Sweep, launch
from sweeps.engine.documents.parquet import export_study
from sweeps.engine.documents.samples import export_samples
from sweeps.engine.running.options import read_options
from sweeps.engine.study.folder import open_study
from zsr_core import __version__
from zsr_core.codec import ConfigError
from zsr_core.records import ARROW

ROOT = Path(__file__).resolve().parents[2]
PAGES = (
    ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "mlflow/README.md", ROOT / "benchmarks/README.md"
)  # fmt: skip
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
FENCE = re.compile(r"^```(?P<info>[^\n]*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
KINDS_OF_BLOCKS = ("sh", "python", "text tree", "text shows", "bibtex")


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    info: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def reason(self) -> str:
        """Why a block is not run."""
        return self.info.partition(":")[2].strip()


def _blocks() -> Iterator[Block]:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for found in FENCE.finditer(text):
            line = text.count("\n", 0, found.start()) + 1
            yield Block(page=page, line=line, info=found["info"], text=found["text"])


BLOCKS = tuple(_blocks())


def _of(start: str, *, without: Sequence[str] = ()) -> pytest.MarkDecorator:
    chosen = [b for b in BLOCKS if b.info.startswith(start) and not any(b.info.startswith(w) for w in without)]
    assert chosen
    return pytest.mark.parametrize("block", chosen, ids=[b.place for b in chosen])


# ---- all blocks


def test_every_block_says_how_it_is_checked_and_none_is_left_out_without_a_reason() -> None:
    for block in BLOCKS:
        assert block.info.startswith(KINDS_OF_BLOCKS), f"{block.place}: {block.info!r}"
        if "shows" in block.info or "compiled" in block.info:
            assert len(block.reason) > 10, block.place
            print(f"{block.place} is not run: {block.reason}")


# ---- shell


def _commands(block: Block) -> list[list[str]]:
    lines = block.text.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


@_of("sh")
def test_every_command_is_one_that_its_program_accepts(block: Block) -> None:
    for words in _commands(block):
        name, *arguments = words
        assert name in PROGRAMS, f"{block.place}: no test knows {name!r}"
        try:
            PROGRAMS[name](arguments)
        except (ConfigError, SystemExit, AssertionError) as error:
            pytest.fail(f"{block.place}: {' '.join(words)}: {error}")


def _make(arguments: Sequence[str]) -> None:
    (target,) = arguments
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def _zsr(arguments: Sequence[str]) -> None:
    module = importlib.import_module(PROJECT["project"]["scripts"]["zsr"].partition(":")[0])
    top, _ = module.parsers(arguments[0])
    top.parse_args(arguments)


def _python(arguments: Sequence[str]) -> None:
    target, *rest = arguments
    if target == "-m":
        assert rest[0] == "zsr_core"
        importlib.import_module("zsr_core.cli.options").parser().parse_args(rest[1:])
    elif target.startswith("sweeps/"):
        read_options(_sweep(target), rest)
    else:
        assert target.startswith("benchmarks/")
        _flags_in(ROOT / target, rest)


def _sweep(path: str) -> Sweep:
    written = [block for block in BLOCKS if block.info == f"python write {path}"]
    if written:
        return _run(written[0])["SWEEP"]  # type: ignore[no-any-return]
    assert (ROOT / path).is_file()
    return importlib.import_module(path.removesuffix(".py").replace("/", ".")).SWEEP  # type: ignore[no-any-return]


def _flags_in(file: Path, arguments: Sequence[str]) -> None:
    text = file.read_text(encoding="utf-8")
    assert [flag for flag in arguments if flag.startswith("--") and flag not in text] == []


def _pip(arguments: Sequence[str]) -> None:
    assert arguments[0] == "install"
    extras = re.findall(r"\[(\w+)\]", " ".join(arguments))
    assert set(extras) <= set(PROJECT["project"]["optional-dependencies"])


def _export(arguments: Sequence[str]) -> None:
    (variable,) = (text.partition("=")[0] for text in arguments)
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "zsr_core").rglob("*.py"))
    assert variable.startswith("RAY_") or f'"{variable}"' in code


def _ray(arguments: Sequence[str]) -> None:
    cli = importlib.import_module("ray.scripts.scripts").cli
    own, rest = list(arguments), list[str]()
    if "--" in own:
        own, rest = own[: own.index("--")], own[own.index("--") + 1 :]
    command = cli
    while own and hasattr(command, "commands") and not own[0].startswith("-"):
        command = command.commands[own.pop(0)]
    options = {name for parameter in command.params for name in parameter.opts}
    assert {flag for flag in own if flag.startswith("--")} <= options
    if rest:
        assert rest[0] == "python"
        _python(rest[1:])


def _pytest(arguments: Sequence[str]) -> None:
    assert (ROOT / arguments[0]).exists()


def _activates(arguments: Sequence[str]) -> None:
    assert list(arguments) == [".venv/bin/activate"]
    assert ".venv" in (ROOT / "Makefile").read_text(encoding="utf-8")


PROGRAMS: dict[str, Callable[[Sequence[str]], None]] = {
    "make": _make, "zsr": _zsr, "python": _python, "pip": _pip, "export": _export, "ray": _ray, "pytest": _pytest,
    ".": _activates,
}  # fmt: skip


# ---- Python


@pytest.fixture
def workplace(
    block: Block,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_study: Callable[..., Any],
    make_methods_study: Callable[..., Any],
) -> Iterator[Path]:
    """Give the current folder of a block, with what the pages say a reader has: a study or two, pictures."""
    if "results/" in block.text:
        folder = tmp_path / "results" / "tga_alpha_beta"
        make_study(folder, name="tga_alpha_beta")
        export_study(open_study(folder))
        export_samples(open_study(folder))
    if "*/study.parquet" in block.text:
        other = tmp_path / "results" / "methods_table"
        make_methods_study(other, name="methods_table")
        export_study(open_study(other))
    if "pictures" in block.text:
        for name, colour in {"red square": (200, 40, 40), "green square": (40, 200, 40), "blue": (40, 40, 200)}.items():
            (tmp_path / "pictures" / name).mkdir(parents=True)
            for i in range(15):
                Image.new("RGB", (60, 50), tuple(c + 3 * i for c in colour)).save(tmp_path / f"pictures/{name}/{i}.png")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("block", None)


def _run(block: Block) -> dict[str, Any]:
    module = ModuleType("block")
    sys.modules["block"] = module  # where dataclasses look for their annotations
    exec(compile(block.text, block.place, "exec"), module.__dict__)
    return module.__dict__


def _absent(block: Block) -> list[str]:
    imports = (node for node in ast.walk(ast.parse(block.text)) if isinstance(node, ast.Import | ast.ImportFrom))
    names = [node.module or "" if isinstance(node, ast.ImportFrom) else node.names[0].name for node in imports]
    packages = dict.fromkeys(name.partition(".")[0] for name in names)
    return [package for package in packages if importlib.util.find_spec(package) is None]


@_of("python", without=("python file", "python write", "python compiled"))
def test_code_runs(block: Block, workplace: Path) -> None:
    absent = _absent(block)
    if not absent:
        _run(block)
        return
    print(f"{block.place} is not run, because {', '.join(absent)} is not installed: its columns and SQL are checked")
    _check_names(block)
    _check_query(block, workplace)


def _check_query(block: Block, workplace: Path) -> None:
    """Check a query without its engine: SQL runs on SQLite, and the columns that are named are in the files."""
    files = sorted(workplace.glob("results/*/study.parquet"))
    schema = pa.unify_schemas([pq.read_schema(file) for file in files])  # fails where a column has two types
    assert not [field.name for field in schema if pa.types.is_null(field.type)]
    tables = [pd.read_parquet(file) for file in files]
    table = pd.concat(tables) if len(tables) > 1 else tables[0]
    strings = [node.value for node in ast.walk(ast.parse(block.text)) if isinstance(node, ast.Constant)]
    queries = [text for text in strings if isinstance(text, str) and "SELECT" in text]
    for query in queries:
        plain = table[[name for name in table if f'"{name}"' in query or re.search(rf"\b{re.escape(name)}\b", query)]]
        with sqlite3.connect(":memory:") as database:
            plain.astype(dict.fromkeys(plain.select_dtypes("category"), "str")).to_sql("studies", database, index=False)
            rows = database.execute(re.sub(r"read_parquet\([^)]*\)|'[^']*\.parquet'", "studies", query)).fetchall()
        done = table[(table["role"] == "cell") & (table["status"] == "done")]
        assert len(rows) == len(done[["study", "cell"]].drop_duplicates())
    named = _columns(block)
    assert queries or named
    known = {*table.columns, *ARROW.names, *pq.read_schema(_part(workplace)).names}
    assert named <= known, f"{block.place}: {named - known}"


def _part(workplace: Path) -> Path:
    return next((workplace / "results/tga_alpha_beta/samples").rglob("*.parquet"))


def _columns(block: Block) -> set[str]:
    """Return the columns that a query names: texts given to col, avg and group_by, but for its own aliases."""
    found: dict[str, set[str]] = {}
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            texts = {arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)}
            found.setdefault(node.func.attr, set()).update(texts)
    named = {"col", "avg", "group_by", "groupBy"}
    return set().union(*(texts for name, texts in found.items() if name in named)) - found.get("alias", set())


@_of("python compiled")
def test_code_that_is_not_run_names_what_there_is(block: Block, workplace: Path) -> None:
    _check_names(block)
    if _columns(block):
        _check_query(block, workplace)


def _check_names(block: Block) -> None:
    """Check that imports are there, that every name is defined, and that calls use keywords that exist."""
    tree = ast.parse(block.text)
    known: dict[str, Any] = dict.fromkeys([*vars(builtins), "__name__"])
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not _missing(node.module or ""):
            module = importlib.import_module(node.module or "")
            known |= {alias.asname or alias.name: getattr(module, alias.name) for alias in node.names}
        elif isinstance(node, ast.Import | ast.ImportFrom):
            known |= dict.fromkeys(alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            known[node.id] = None
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            assert node.id in known, f"{block.place}: {node.id}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and known.get(node.func.id) is not None:
            taken = inspect.signature(known[node.func.id]).parameters
            assert {keyword.arg for keyword in node.keywords} <= set(taken), f"{block.place}: {node.func.id}"


def _missing(module: str) -> bool:
    return importlib.util.find_spec(module.partition(".")[0]) is None


@_of("python file")
def test_a_file_on_a_page_is_the_file(block: Block) -> None:
    assert block.text == (ROOT / block.info.split()[-1]).read_text(encoding="utf-8")


@_of("python write")
def test_a_sweep_that_the_reader_writes_can_be_planned(
    block: Block, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = _run(block)["SWEEP"]
    assert block.info.endswith(f"/{sweep.name}.py")
    assert len(block.text.splitlines()) <= 40
    assert launch(sweep, ["--plan"]) == 0
    assert "trials to run" in capsys.readouterr().out


@pytest.mark.slow
@_of("python write")
def test_a_sweep_that_the_reader_writes_runs(block: Block, workplace: Path) -> None:
    sweep = _run(block)["SWEEP"]
    assert launch(sweep, ["--local", "--tracking", "none", "--seeds", "1", "--limit", "2"]) == 1  # the rest is missing
    folder = open_study(workplace / "results" / sweep.name)
    assert [(result.status, result.error) for result in folder.results.values()] == [("done", ""), ("done", "")]
    assert (folder.path / "table.md").is_file()


# ---- text


@_of("text tree")
def test_the_files_of_a_tree_are_ones_that_the_code_names(block: Block) -> None:
    code = "".join(path.read_text(encoding="utf-8") for tree in ("zsr_core", "sweeps") for path in _files(tree))
    for line in block.text.splitlines():
        name = line.split()[0].rstrip("/").rpartition("/")[2]
        assert f'"{name}"' in code or f"/{name}" in code or name in code.split(), f"{block.place}: {name}"


def _files(tree: str) -> Iterator[Path]:
    return (ROOT / tree).rglob("*.py")


def test_an_error_on_a_page_is_the_one_that_is_printed() -> None:
    (line,) = [b.text.strip() for b in BLOCKS if b.text.startswith("error: --search")]
    with pytest.raises(ConfigError) as raised:
        read_options(_sweep("sweeps/tga_alpha_beta.py"), ["--search", "tpa"])
    assert line == f"error: {raised.value}"


@_of("bibtex")
def test_the_citation_names_this_version_and_its_licence(block: Block) -> None:
    assert f"version = {{{__version__}}}" in block.text
    assert f"license = {{{PROJECT['project']['license']}}}" in block.text
