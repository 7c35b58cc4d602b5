"""What the pages of this program have in common: one file each, which needs no network and runs nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2126; --soft: #66707a; --paper: #fff; --card: #f4f6f8; --line: #dde2e7;
  --error: #b3261e; --warning: #8a5a00; --info: #2a6099; --bar: #4a7fb5; }
@media (prefers-color-scheme: dark) { :root { --ink: #e3e7eb; --soft: #98a2ac; --paper: #15181b; --card: #1e2327; --line: #333a41;
  --error: #ff8a80; --warning: #f0b95a; --info: #86b8ea; --bar: #6a9fd4; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.5rem 4rem; max-width: 76rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.7rem; margin: 0; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .7rem; } h3 { font-size: .95rem; margin: 0 0 .4rem; }
.soft { color: var(--soft); } .error { color: var(--error); } .warning { color: var(--warning); } .info { color: var(--info); }
.tiles, .charts { display: flex; flex-wrap: wrap; gap: .8rem; margin-top: 1.2rem; }
.tile { background: var(--card); border-radius: .5rem; padding: .7rem 1rem; min-width: 8rem; }
.tile b { display: block; font-size: 1.5rem; line-height: 1.2; }
.chart { background: var(--card); border-radius: .5rem; padding: .8rem 1rem; }
.chart svg { display: block; } svg text { fill: var(--soft); font-size: 11px; } svg rect { fill: var(--bar); }
.finding { border-left: 4px solid currentColor; background: var(--card); border-radius: 0 .4rem .4rem 0;
  padding: .5rem .9rem; margin: .5rem 0; }
.finding p { margin: 0; color: var(--ink); overflow-wrap: anywhere; } .finding p + p { color: var(--soft); }
details { color: var(--soft); } summary { cursor: pointer; }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .4rem .6rem; border-bottom: 1px solid var(--line); vertical-align: middle; }
th { color: var(--soft); font-weight: 600; white-space: nowrap; } td.id { overflow-wrap: anywhere; max-width: 16rem; }
img { display: block; background: #000; border-radius: .25rem; } tr.out td { opacity: .55; }
@media print { body { max-width: none; } .finding, tr { break-inside: avoid; } }
"""


def document(title: str, parts: Iterable[str], style: str = "") -> str:
    """Return an HTML document.

    Parameters
    ----------
    title : str
        Plain text.
    parts : iterable of str
        HTML of the body.
    style : str
        Further CSS of this page alone.
    """
    head = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">',
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">",
        f"<title>{escape(title)}</title><style>{_STYLE}{style}</style></head><body>",
    ]
    return "\n".join([*head, *parts, "</body></html>"])


def without_folders(text: str) -> str:
    """Return a sentence with the names of files alone, wherever they lie."""
    return re.sub(r"(?<![\w.])(?:[A-Za-z]:)?(?:[/\\][^/\\\s:]+)+[/\\]", "", text)
