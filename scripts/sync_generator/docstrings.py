"""What a docstring says of a twin."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator

from .table import LEFT_OUT, LINE, PHRASES, TWINS, WORDS

Documented = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def translated(text: str) -> str:
    """A docstring as the twin's own."""
    for pattern, replacement in PHRASES:
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    for name, twin in TWINS.items():
        before = "(?<=`)" if name in WORDS else r"\b"
        text = re.sub(rf"{before}{name}\b", twin, text)
    return text


def docstring(node: Documented, indent: int) -> list[str]:
    """The lines of the twin's docstring, if there is one."""
    text = ast.get_docstring(node)
    if text is None:
        return []
    quotes = 'r"""' if "\\" in text else '"""'
    lines = list(_fitted((quotes + translated(text)).split("\n"), LINE - indent))
    if len(lines) > 1 or len(lines[0]) + 3 > LINE - indent:
        lines.append('"""')
    else:
        lines[0] += '"""'
    return [" " * indent + line if line else "" for line in lines]


def _fitted(lines: list[str], width: int) -> Iterator[str]:
    """The lines; paragraphs that the twins' names have made too wide are broken anew."""
    for paragraph in _paragraphs(lines):
        if paragraph[0].strip().partition(":")[0] in LEFT_OUT:
            continue
        if max(map(len, paragraph)) <= width:
            yield from paragraph
        else:
            first, last = (re.match(" *", paragraph[at]) for at in (0, -1))
            hanging = last.group() if last and len(paragraph) > 1 else _hanging(paragraph[0])
            text = " ".join(line.strip() for line in paragraph)
            yield from textwrap.wrap(
                text, width, initial_indent=first.group() if first else "", subsequent_indent=hanging
            )


def _hanging(line: str) -> str:
    """The indentation of what continues a line."""
    indent = " " * (len(line) - len(line.lstrip()))
    return indent + "    " if re.match(r" +\**\w+: ", line) else indent


def _paragraphs(lines: list[str]) -> Iterator[list[str]]:
    """Lines that belong together: those of one paragraph, of one argument."""
    paragraph: list[str] = []
    for line in lines:
        if paragraph and not (line and line.startswith(_hanging(paragraph[0])) and _continues(line)):
            yield paragraph
            paragraph = []
        paragraph.append(line)
    if paragraph:
        yield paragraph


def _continues(line: str) -> bool:
    return not re.match(r" *(>>>|\.\.\. |\w+:$|\**\w+: )", line)
