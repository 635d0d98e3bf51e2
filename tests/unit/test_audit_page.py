"""The page on the papers' tables: the same in Markdown, HTML and the terminal, and in one file that fetches nothing."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from sweeps.engine.commands.main import main
from sweeps.engine.documents.html import Bullets, Fold, Grid, Paragraph
from sweeps.engine.documents.papers_audit import (
    CLAIM_HEAD,
    as_html,
    as_markdown,
    audit_blocks,
    claim_row,
    facts,
    filled,
    write_audit,
)
from zsr_core.audit.papers import audit_published
from zsr_core.published import SOURCES

VOID = {"meta", "link", "br", "img", "input", "hr"}


class _Balanced(HTMLParser):
    """Fails on a tag that is closed before its own, and keeps what was opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def _page() -> str:
    return as_html(audit_blocks(audit_published()))


def test_the_html_is_well_formed_and_needs_nothing_else() -> None:
    page = _page()
    parsed = _Balanced()
    parsed.feed(page)
    assert not parsed.open
    assert not parsed.seen & {"script", "link", "img", "iframe"}
    assert not re.search(r"https?:|url\(|@import", page)
    assert 'name="viewport"' in page


def test_every_source_and_every_verdict_that_was_earned_is_on_the_page() -> None:
    text = as_markdown(audit_blocks(audit_published()))
    assert all(f"## Tables of the {source.title} paper" in text for source in SOURCES.values())
    for audited in audit_published():
        if audited.status != "SKIP":
            assert f"### {audited.claim.method}: {audited.status}" in text


def test_a_row_of_the_table_tells_the_gap_and_the_rules() -> None:
    (tga,) = [a for a in audit_published() if (a.claim.source, a.claim.method) == ("CompTGA-2026", "TGA-ZSR")]
    row = dict(zip(CLAIM_HEAD, claim_row(tga), strict=True))
    assert row["PGD to AutoAttack"] == "-11.32 (-27 %)"
    assert row["worst printed"] == "30.77"
    assert row["verdict"] == "FAIL, not confirmed"
    assert row["rules"] == "FAIL: G19, G25; WARN: G15, G21"


def test_markdown_and_html_have_the_same_figures() -> None:
    blocks = audit_blocks(audit_published())
    stripped = re.sub(r"<style>.*?</style>|<[^>]+>", " ", as_html(blocks), flags=re.DOTALL)
    numbers = [sorted(re.findall(r"\d+\.\d\d", text)) for text in (stripped, as_markdown(blocks))]
    assert numbers[0] == numbers[1]
    assert len(numbers[0]) > 300


def test_markup_in_a_text_is_shown_and_verdicts_are_marked() -> None:
    page = as_html((Paragraph(text="a < b & FAIL"), Fold(title="PASS", blocks=(Bullets(items=("<i>",)),))))
    assert 'a &lt; b &amp; <span class="fail">FAIL</span>' in page
    assert "<li>&lt;i&gt;</li>" in page


def test_a_column_that_no_row_fills_is_left_out() -> None:
    grid = filled(Grid(head=("method", "CW", "PGD"), rows=(("a", "–", "1"), ("b", "–", "–"))))
    assert grid == Grid(head=("method", "PGD"), rows=(("a", "1"), ("b", "–")))


def test_the_facts_take_their_figures_from_the_tables() -> None:
    assert "from 30.69 to 44.46 and clean accuracy from 46.68 to 55.44" in facts()[0]
    assert "keeps 2.42 at 8/255 and 4.90 at 1/255 under PGD-100, where AutoAttack leaves 0.09" in facts()[1]


def test_zsr_audit_published_writes_both_pages_and_says_the_verdicts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", "--published", "--out", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert re.search(r"FAIL  TGA-ZSR +worst printed 30.77  FAIL G19, FAIL G25, WARN G15, WARN G21", out)
    assert re.search(r"PASS  PMG-AFT +worst printed 29.82\n", out)
    for kind in ("md", "html"):
        path = tmp_path / "out" / f"audit_published.{kind}"
        assert str(path) in out
        assert path.is_file()


def test_audit_without_a_subject_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit"]) == 2
    assert capsys.readouterr().err == (
        "zsr audit: --study: got None, expected a study's folder, or --published instead of it\n"
    )


def test_a_folder_that_cannot_be_written_to_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["audit", "--published", "--out", str(tmp_path / "file")]) == 2
    assert capsys.readouterr().err.startswith("zsr audit: ")


def test_the_pages_are_the_same_each_time(tmp_path: Path) -> None:
    first = [path.read_bytes() for path in write_audit(tmp_path / "a")]
    assert first == [path.read_bytes() for path in write_audit(tmp_path / "b")]
