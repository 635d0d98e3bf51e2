"""Class lists and word lists as people write them: the one reader of all of them.

A list is text in UTF-8, or in UTF-16 with its byte order mark. Line ends of every system, a byte order mark and blanks
around a name change nothing. Names are compared in Unicode's composed form (NFC), because some systems store accents
as letters of their own. Whatever could move a label to another class is refused with the file and the line.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Collection
from pathlib import Path

from zsr_core.codec import ConfigError

WORDS = "words.txt"
WORDNET_ID = re.compile(r"n\d{8}")
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


def composed(name: str) -> str:
    """Return the name in Unicode's composed form (NFC): one text for one name, however a system stored it."""
    return unicodedata.normalize("NFC", name)


def refused(file: Path, line: int, text: str, expected: str) -> ConfigError:
    """Return the error that names a list, its line, what stands there and what was expected."""
    return ConfigError(f"root: {file}, line {line}: got {text!r}, expected {expected}")


def numbered_lines(file: Path) -> list[tuple[int, str]]:
    """Return (line number, text) of every line but blank ones at the end, without the blanks around it.

    Raises:
        ConfigError: naming the file, and the line whose bytes are no text.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"root: {file} cannot be read ({error.strerror})") from None
    mark, encoding = next(((mark, kind) for mark, kind in _MARKS if content.startswith(mark)), (b"", "utf-8"))
    content = content.removeprefix(mark)
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        before = content[: error.start].decode(encoding, errors="replace")
        byte = f"the byte {content[error.start]:#04x}"
        raise refused(file, len(_lines(before)), byte, "text in UTF-8: save the file in that encoding") from None
    # A mark inside comes of files that were put together.
    lines = [line.strip().strip("\ufeff").strip() for line in _lines(text)]
    for number, line in enumerate(lines, start=1):
        if "\0" in line:
            raise refused(file, number, line[:20], "text; the file holds zero bytes")
    while lines and not lines[-1]:
        lines.pop()
    return list(enumerate(lines, start=1))


def _lines(text: str) -> list[str]:
    """Split at the line ends of files alone: ``str.splitlines`` also splits inside names, at U+0085 and its like."""
    return re.split(r"\r\n|\r|\n", text)


def names_in(file: Path) -> tuple[str, ...]:
    """Return the names of a class list, one a line, whose position is the label.

    Raises:
        ConfigError: naming file and line, for a blank line or a name that stands twice, or if there is no name.
    """
    names: dict[str, int] = {}
    for number, line in numbered_lines(file):
        name = composed(line)
        if not name:
            expected = "a class name: the position is the label, so a blank line would move all names after it"
            raise refused(file, number, line, expected)
        if "\t" in name:
            raise refused(file, number, line, "a class name alone, without a tab")
        if name in names:
            raise refused(file, number, line, f"every name once; it is also in line {names[name]}")
        names[name] = number
    if not names:
        raise ConfigError(f"root: got {str(file)!r}, expected class names, one a line; the file has none")
    return tuple(names)


def words_of(file: Path, ids: Collection[str] = ()) -> dict[str, str]:
    """Return id -> first name of a word list: id, tab, names with commas between them, as WordNet's ``words.txt``.

    Blanks may stand for the tab where the first word is one of ``ids`` or a WordNet id. Blank lines mean nothing.

    Raises:
        ConfigError: naming file and line, where there is no id or no name, or an id has two different names.
    """
    known = {composed(name) for name in ids}
    names: dict[str, tuple[str, int]] = {}
    for number, line in numbered_lines(file):
        if not line:
            continue
        head, name = _entry(composed(line), known)
        if not (head and name):
            raise refused(file, number, line, "an id, a tab and a name")
        before, at = names.get(head, (name, number))
        if before != name:
            raise refused(file, number, line, f"one name for {head!r}; line {at} calls it {before!r}")
        names[head] = (before, at)
    return {head: name for head, (name, _) in names.items()}


def _entry(line: str, ids: Collection[str]) -> tuple[str, str]:
    head, tab, names = line.partition("\t")
    if not tab:
        # The longest id that the line starts with, because a folder's name may hold blanks itself.
        starts = [name for name in ids if line.startswith(f"{name} ")]
        head = max(starts, key=len) if starts else line.partition(" ")[0]
        names = line.removeprefix(head) if starts or WORDNET_ID.fullmatch(head) else ""
    return head.strip(), names.split(",")[0].strip()
