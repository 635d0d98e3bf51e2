"""The blocks of a page, and their HTML: one self-contained file for screens, phones and paper."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Heading:
    text: str
    level: int = 2
    anchor: str = ""  # the id that links on the page use


@dataclass(frozen=True, kw_only=True)
class Paragraph:
    text: str
    kind: str = ""  # "lead" for the answer, "banner" for a note on the whole page


@dataclass(frozen=True, kw_only=True)
class Bullets:
    items: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A table; on a narrow screen its rows become cards, whose title is the first cell."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    strong: tuple[int, ...] = ()  # rows that stand out


@dataclass(frozen=True, kw_only=True)
class Fold:
    """Blocks that are folded on screen until opened, and shown on paper."""

    title: str
    blocks: tuple[Heading | Paragraph | Bullets | Grid, ...]


@dataclass(frozen=True, kw_only=True)
class Tile:
    """A main number: its title, value, spread, gain over the baseline, and failed audit rules."""

    title: str
    value: str
    spread: str = ""
    gain: str = ""
    doubt: str = ""


@dataclass(frozen=True, kw_only=True)
class Tiles:
    tiles: tuple[Tile, ...]


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A figure as a data URI, so that it is part of the page, and its caption."""

    title: str
    uri: str
    words: str
    wide: bool = False  # as wide as a page of paper, not as one of its columns


@dataclass(frozen=True, kw_only=True)
class Code:
    """Commands to copy into a terminal."""

    lines: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Links:
    """Links to sections of the page: (anchor, words)."""

    targets: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Fragment:
    """HTML that is already escaped."""

    html: str


Text = Heading | Paragraph | Bullets | Grid | Fold  # blocks that have a Markdown form too
Block = Text | Tiles | Picture | Code | Links | Fragment


def document(title: str, blocks: Iterable[Block]) -> str:
    """Return one HTML file with its own style: no script, no font, nothing fetched."""
    body = "\n".join(html_of(block) for block in blocks)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{html.escape(title)}</title>\n'
        f"<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{html.escape(title)}</h1>\n{body}\n</main>\n</body>\n"
        "</html>\n"
    )


def html_of(block: Block) -> str:
    """Return a block as HTML; all text is escaped, and verdicts are marked."""
    if isinstance(block, Fragment):
        return block.html
    if isinstance(block, Heading):
        anchor = f' id="{html.escape(block.anchor)}"' if block.anchor else ""
        return f"<h{block.level}{anchor}>{marked(block.text)}</h{block.level}>"
    if isinstance(block, Paragraph):
        kind = f' class="{html.escape(block.kind)}"' if block.kind else ""
        return f"<p{kind}>{marked(block.text)}</p>"
    if isinstance(block, Bullets):
        return "<ul>" + "".join(f"<li>{marked(item)}</li>" for item in block.items) + "</ul>"
    if isinstance(block, Grid):
        return _grid(block)
    if isinstance(block, Fold):
        inner = "\n".join(html_of(one) for one in block.blocks)
        return f"<details>\n<summary>{marked(block.title)}</summary>\n{inner}\n</details>"
    return _of_reports(block)


def _of_reports(block: Tiles | Picture | Code | Links) -> str:
    if isinstance(block, Tiles):
        return f'<div class="tiles">{"".join(_tile(tile) for tile in block.tiles)}</div>'
    if isinstance(block, Picture):
        words = html.escape(block.words)
        image = f'<img src="{html.escape(block.uri)}" alt="{words}">'
        opening = '<figure class="broad">' if block.wide else "<figure>"
        return f"{opening}{image}<figcaption><b>{html.escape(block.title)}</b> {words}</figcaption></figure>"
    if isinstance(block, Code):
        lines = "\n".join(html.escape(line) for line in block.lines)
        return f"<pre><code>{lines}</code></pre>"
    links = "".join(f'<a href="#{html.escape(anchor)}">{html.escape(words)}</a>' for anchor, words in block.targets)
    return f"<nav>{links}</nav>"


def _tile(tile: Tile) -> str:
    lines = [f"<dt>{html.escape(tile.title)}</dt>", f'<dd class="value">{marked(tile.value)}</dd>']
    lines += [f"<dd>{marked(text)}</dd>" for text in (tile.spread, tile.gain) if text]
    lines += [f'<dd class="doubt">{marked(tile.doubt)}</dd>'] if tile.doubt else []
    return f"<dl>{''.join(lines)}</dl>"


def _grid(grid: Grid) -> str:
    head = "".join(f'<th scope="col">{marked(name)}</th>' for name in grid.head)
    rows = "\n".join(_grid_row(grid.head, row, i in grid.strong) for i, row in enumerate(grid.rows))
    return f'<table class="cards">\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>'


def _grid_row(head: Sequence[str], row: Sequence[str], strong: bool) -> str:
    first, *rest = row
    cells = "".join(
        f'<td data-label="{html.escape(name)}"{" class=number" if NUMBER.fullmatch(text) else ""}>'
        f"<div>{marked(text)}</div></td>"
        for name, text in zip(head[1:], rest, strict=True)
    )
    opening = '<tr class="strong">' if strong else "<tr>"
    label = html.escape(head[0])
    return f'{opening}<th scope="row" data-label="{label}"><div>{marked(first)}</div></th>{cells}</tr>'


NUMBER = re.compile(r"[-+]?\d+(\.\d+)?|–")
STATUS = re.compile(r"\b(PASS|WARN|FAIL|SKIP)\b")


TOGETHER = re.compile(r"(?<=\d) (?=[±%])|(?<=±) (?=\d)|(?<=\d,) (?=[-+]?[\d.]+\])")  # blanks inside a number


def marked(text: str) -> str:
    """Return text as HTML; verdicts get a border besides their colour, so that they are readable without colour.

    Numbers are not broken across lines, see :func:`whole_numbers`.
    """
    return STATUS.sub(lambda m: f'<span class="{m[1].lower()}">{m[1]}</span>', html.escape(whole_numbers(text)))


def whole_numbers(text: str) -> str:
    """Return text or HTML in which no line break separates a number from its spread, unit or interval."""
    return TOGETHER.sub("\u00a0", text)


STYLE = """\
:root { color-scheme: light dark; --ink: #1c2024; --soft: #5b6470; --line: #d9dee4; --page: #ffffff; --card: #f6f7f9;
  --fail: #b3261e; --warn: #8a5a00; --pass: #1b6e3c; --skip: #5b6470; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7eaee; --soft: #a3adb8; --line: #3a424b; --page: #14171a;
  --card: #1d2125; --fail: #ff8a80; --warn: #f2c14e; --pass: #7ddc9c; --skip: #a3adb8; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }
main { max-width: 96rem; margin: 0 auto; padding: 1.5rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0.5rem 0 1rem; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 0.5rem; }
h3 { font-size: 1.05rem; margin: 1.75rem 0 0.4rem; }
p, li { max-width: 60rem; overflow-wrap: anywhere; }
.lead { font-size: 1.15rem; }
.banner { border-left: 4px solid var(--warn); background: var(--card); padding: 0.4rem 0.8rem; }
nav { display: flex; flex-wrap: wrap; gap: 0.3rem 1.2rem; margin: 0.5rem 0 1rem; }
a { color: inherit; }
.tiles { display: flex; flex-wrap: wrap; gap: 0.75rem; margin: 1rem 0; }
.tiles dl { flex: 1 1 11rem; max-width: 20rem; margin: 0; padding: 0.7rem 0.9rem; background: var(--card);
  border: 1px solid var(--line); border-radius: 6px; }
.tiles dt { color: var(--soft); font-size: 0.9rem; }
.tiles dd { margin: 0; font-size: 0.875rem; font-variant-numeric: tabular-nums; }
.tiles .value { font-size: 1.7rem; font-weight: 600; line-height: 1.3; }
.doubt { color: var(--fail); }
table { border-collapse: collapse; width: 100%; margin: 0.75rem 0 1rem; font-size: 0.925rem; }
th, td { text-align: left; vertical-align: top; padding: 0.4rem 0.6rem; border-bottom: 1px solid var(--line);
  overflow-wrap: break-word; }
td > div { overflow-wrap: anywhere; min-width: 4.6rem; }
thead th { color: var(--soft); font-weight: 600; border-bottom: 2px solid var(--line); overflow-wrap: normal; }
.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
.strong > * { font-weight: 600; background: var(--card); }
details { border: 1px solid var(--line); border-radius: 6px; margin: 0.4rem 0; padding: 0 0.75rem; }
summary { cursor: pointer; padding: 0.5rem 0; font-weight: 600; }
figure { margin: 1rem 0; }
figure img { display: block; width: 100%; max-width: 40rem; height: auto; background: #ffffff; }
figure.broad img { max-width: 75rem; }
.figures .broad { grid-column: 1 / -1; }
.soft { color: var(--soft); font-size: 0.875rem; margin: 0.15rem 0; }
figcaption { color: var(--soft); font-size: 0.875rem; max-width: 60rem; margin-top: 0.3rem; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 0 1.5rem; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding: 0.6rem 0.8rem;
  white-space: pre-wrap; overflow-wrap: anywhere; font-size: 0.875rem; }
.fail, .warn, .pass, .skip { font-weight: 700; font-size: 0.85em; border: 1px solid; border-radius: 4px;
  padding: 0 0.3em; white-space: nowrap; }
.fail { color: var(--fail); } .warn { color: var(--warn); } .pass { color: var(--pass); } .skip { color: var(--skip); }
.zsr-matrix .wide { overflow-x: auto; }
.zsr-matrix table { width: auto; margin: 0 0 0.4rem; font-variant-numeric: tabular-nums; }
.zsr-matrix caption { text-align: left; font-weight: 600; padding: 0.9rem 0 0.3rem; }
.zsr-matrix th, .zsr-matrix td { padding-right: 1.4rem; }
.zsr-matrix tbody th { font-weight: 400; min-width: 6rem; max-width: 20rem; }
.zsr-matrix small { display: block; color: var(--soft); }
.zsr-matrix td { white-space: nowrap; }
.zsr-matrix tr.baseline > * { background: var(--card); }
.zsr-matrix tr.failed th { color: var(--fail); }
.zsr-matrix p { color: var(--soft); font-size: 0.875rem; margin: 0.15rem 0; }
@media screen and (max-width: 46rem) {
  main { padding: 1rem 0.9rem 3rem; }
  h1 { font-size: 1.4rem; }
  .cards thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  .cards, .cards tbody, .cards tr, .cards th, .cards td { display: block; width: 100%; }
  .cards tr { background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding: 0.5rem 0.75rem;
    margin: 0 0 0.6rem; }
  .cards tr.strong { border-color: var(--ink); }
  .cards th, .cards td { border: 0; padding: 0.12rem 0; }
  .cards td > div, .cards tbody th > div { min-width: 0; }
  .cards td, .cards tbody th { display: grid; grid-template-columns: 8.5rem 1fr; gap: 0.5rem; }
  .cards td::before, .cards tbody th::before { content: attr(data-label); color: var(--soft); font-weight: normal; }
  .tiles dl { flex-basis: 100%; max-width: none; }
  .zsr-matrix table { font-size: 0.78rem; }
  .zsr-matrix tbody th { min-width: 4.5rem; }
  .zsr-matrix th, .zsr-matrix td { padding: 0.35rem 0.3rem 0.35rem 0; white-space: normal; overflow-wrap: normal; }
}
@media print {
  :root { color-scheme: light; --ink: #000000; --soft: #444444; --line: #bbbbbb; --page: #ffffff; --card: #f4f4f4;
    --fail: #b3261e; --warn: #8a5a00; --pass: #1b6e3c; --skip: #5b6470; }
  html { font-size: 10.5px; }
  main { max-width: none; padding: 0; }
  h2, h3, caption, thead, summary { break-after: avoid; }
  tr, figure, .tiles, pre { break-inside: avoid; }
  figure img { width: auto; max-width: 100%; max-height: 20cm; }
  .zsr-matrix .wide { overflow: visible; }
  details { border: 0; padding: 0; }
  details::details-content { content-visibility: visible; height: auto; }
}
"""
