"""What README.md and the pages under docs/ name is there: links, headings, files, functions; their lists are whole."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from sweeps.engine.documents.parquet import MEASURE_COLUMNS, TRIAL_COLUMNS
from sweeps.engine.figures.kinds import KINDS
from sweeps.engine.running.options import read_options
from sweeps.engine.running.stops import LOG
from sweeps.tga_alpha_beta import SWEEP
from zsr_core.attacks.profiles import PROFILES
from zsr_core.audit.verdict import RULES
from zsr_core.codec import ConfigError
from zsr_core.data.tasks import EVERY
from zsr_core.evaluation import attention, detection
from zsr_core.evaluation.embeddings import EMBEDDINGS, SHIFTED, TEXTS
from zsr_core.evaluation.metrics import ACCURACY, METRICS
from zsr_core.evaluation.metrics.ood import MEASURES, OOD, SCORES, SIDES
from zsr_core.evaluation.metrics.outside import OUTSIDE
from zsr_core.evaluation.metrics.uncertainty import UNCERTAINTIES, UNCERTAINTY
from zsr_core.evaluation.retrieval import store
from zsr_core.methods import METHODS

ROOT = Path(__file__).resolve().parents[2]
PAGES = (
    ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "mlflow/README.md", ROOT / "benchmarks/README.md"
)  # fmt: skip
TREES = ("zsr_core", "sweeps", "search_spaces", "benchmarks", "tests", "docs", "mlflow")
BLOCK = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)


def _prose(page: Path) -> str:
    return BLOCK.sub("", page.read_text(encoding="utf-8"))


def _anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives the headings of a page."""
    titles = re.findall(r"^#+ (.*)$", _prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_lead_to_files_and_headings_that_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", _prose(page)):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in _anchors(file), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_paths_and_names_of_code_exist(page: Path) -> None:
    text = _prose(page)
    for code in re.findall(r"`([^`\n]+)`", text):
        path, _, name = code.partition(":")
        if not re.fullmatch(rf"(?:{'|'.join(TREES)})/[\w./-]*", path):
            continue
        if f"Put this into `{code}`" in text:
            continue
        assert (ROOT / path).exists(), f"{page.name}: {code}"
        if re.fullmatch(r"[A-Za-z_][\w.]*", name):
            assert _defines(ROOT / path, name.split(".")), f"{page.name}: {code}"


def _defines(file: Path, names: Sequence[str]) -> bool:
    body = ast.parse(file.read_text(encoding="utf-8")).body
    for name in names:
        nodes = [node for node in body if name in _bound(node)]
        if not nodes:
            return False
        body = getattr(nodes[0], "body", [])
    return True


def _bound(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return {node.name}
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return {target.id for target in targets if isinstance(target, ast.Name)}


# ---- lists that are whole


def _flags() -> list[str]:
    with pytest.raises(ConfigError) as raised:
        read_options(SWEEP, ["--no-such-flag"])
    return [flag for flag in re.findall(r"--[a-z-]+", str(raised.value)) if flag not in ("--no-such-flag", "--help")]


def _metric_names() -> list[str]:
    """Return the metrics' names, and of families the parts that names are made of."""
    endings = [u.suffix for u in UNCERTAINTIES if u.suffix]
    alone = [m for m in METRICS if m not in OOD and m not in OUTSIDE]
    plain = [m.name for m in alone if not (m in UNCERTAINTY and m.name.endswith(tuple(endings)))]
    return [*plain, *endings, *MEASURES, *SCORES, *(side for side in SIDES if side)]


WHOLE: dict[str, Callable[[], list[str]]] = {
    "sweeps.md": _flags,
    "results.md": lambda: [*KINDS, *TRIAL_COLUMNS, *MEASURE_COLUMNS],
    "evaluation.md": lambda: [*PROFILES, *(f"`{metric.name}`" for metric in ACCURACY)],
    "metrics.md": lambda: [f"`{name}`" for name in _metric_names()],
    "audit.md": lambda: list(RULES),
    "methods.md": lambda: [
        *(f"{method.title} | `{method.__name__}" for method in METHODS),
        *(
            path.stem
            for folder in ("", "reproductions/", "replays/")
            for path in (ROOT / "sweeps").glob(f"{folder}[!_]*.py")
        ),
    ],
    "data.md": lambda: [task.name for task in EVERY],
    "architecture.md": lambda: [
        f"{tree}/{folder.name}/"
        for tree in ("zsr_core", "sweeps/engine")
        for folder in (ROOT / tree).iterdir()
        if (folder / "__init__.py").is_file()
    ],
}


@pytest.mark.parametrize("page", WHOLE)
def test_a_list_on_a_page_is_whole(page: str) -> None:
    names = WHOLE[page]()
    text = _prose(ROOT / "docs" / page)
    assert len(names) > 5
    assert [name for name in names if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text)] == []


def test_the_tree_of_a_study_names_every_file_that_trials_and_launches_leave() -> None:
    text = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    files = (detection.FILE, store.FILE, attention.FILE, EMBEDDINGS, TEXTS, SHIFTED, LOG)
    assert [name for name in files if f"{name} " not in text] == []


def test_the_readme_is_short_and_begins_with_the_two_commands() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 120
    assert [line.partition("#")[0].strip() for line in lines if line.startswith("make ")] == ["make demo", "make test"]
    assert lines.index("```sh") <= 12


def test_the_readme_leads_to_every_page() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    reached = text + (ROOT / "docs/methods.md").read_text(encoding="utf-8")
    assert [page.name for page in PAGES[1:] if f"{page.name})" not in reached] == []
