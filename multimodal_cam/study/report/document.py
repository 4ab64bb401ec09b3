"""A report as a list of blocks, rendered as Markdown and as one self-contained HTML file."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from ...metrics.intervals import Interval

STYLE = """
:root { color-scheme: light dark; --ink: #16191d; --paper: #fdfcfb; --line: #dcd8d4; --muted: #565c64; }
@media (prefers-color-scheme: dark) { :root { --ink: #eef0f2; --paper: #131518; --line: #343940; --muted: #a4abb4; } }
body { margin: 0 auto; padding: clamp(1rem, 4vw, 3.5rem); max-width: 78rem; font: 1rem/1.55 system-ui, sans-serif;
  background: var(--paper); color: var(--ink); }
h1, h2, h3 { line-height: 1.25; text-wrap: balance; }
h2 { margin-top: 2.5rem; border-top: 1px solid var(--line); padding-top: 1rem; }
p { max-width: 48rem; }
.table { overflow-x: auto; margin: 1.2rem 0; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .8rem .25rem 0; text-align: start; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--muted); font-weight: 600; }
img { max-width: 100%; height: auto; background: #fff; }
figure { display: inline-block; margin: 0 1rem 1rem 0; max-width: 22rem; vertical-align: top; }
figure.wide { max-width: 100%; }
figcaption { font-size: .9rem; color: var(--muted); overflow-wrap: anywhere; }
"""


@dataclass(frozen=True)
class Heading:
    level: int
    text: str


@dataclass(frozen=True)
class Paragraph:
    text: str


@dataclass(frozen=True)
class DataTable:
    """A table: its head and rows of cells."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Picture:
    """An image file beside the report; the HTML embeds it."""

    path: Path
    text: str
    wide: bool = False


Block = Heading | Paragraph | DataTable | Picture


def value_cell(found: Interval) -> str:
    """Text of a table cell: a number and its confidence interval, or a dash where no row has it."""
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]" if found.rows else "-"


def difference_cell(found: Interval) -> str:
    """Text of a table cell: a signed difference and its confidence interval, marked `n.s.` where the interval contains 0."""
    if not found.rows:
        return "-"
    return f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]{'' if found.excludes(0) else ' n.s.'}"


def markdown(blocks: Iterable[Block], folder: Path) -> str:
    """The blocks as Markdown; pictures by their path below `folder`."""
    return "\n\n".join(_markdown(block, folder) for block in blocks) + "\n"


def html(blocks: Iterable[Block], title: str) -> str:
    """The blocks as one page."""
    body = "\n".join(map(_html, blocks))
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{escape(title)}</title>\n'
        f"<style>{STYLE}</style>\n<main>\n{body}\n</main>\n</html>\n"
    )


def _markdown(block: Block, folder: Path) -> str:
    match block:
        case Heading(level, text):
            return f"{'#' * level} {_plain(text)}"
        case Paragraph(text):
            return _plain(text)
        case DataTable(head, rows):
            lines = [head, ["---"] * len(head), *rows]
            return "\n".join(f"| {' | '.join(_plain(cell).replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
        case Picture(path, text):
            return f"![{_plain(text).translate(str.maketrans('[]', '()'))}]({path.relative_to(folder).as_posix()})"


def _html(block: Block) -> str:
    match block:
        case Heading(level, text):
            return f"<h{level}>{escape(text)}</h{level}>"
        case Paragraph(text):
            return f"<p>{escape(text)}</p>"
        case DataTable(head, rows):
            top = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
            body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>\n" for row in rows)
            return f'<div class="table"><table>\n<thead><tr>{top}</tr></thead>\n<tbody>\n{body}</tbody></table></div>'
        case Picture(path, text, wide):
            kind = "png" if path.suffix == ".png" else "jpeg"
            data = base64.b64encode(path.read_bytes()).decode()
            source = f"data:image/{kind};base64,{data}"
            shape = ' class="wide"' if wide else ""
            return f'<figure{shape}><img src="{source}" alt="{escape(text)}"><figcaption>{escape(text)}</figcaption></figure>'


def _plain(text: str) -> str:
    """The text in one line, without characters that Markdown would read as HTML."""
    return " ".join(text.split()).replace("<", "&lt;")
