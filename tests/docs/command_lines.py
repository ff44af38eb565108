"""The command lines that README, docs/, the zoo and the notebooks show."""

from __future__ import annotations

import itertools
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "teachers" / "zoo" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
OURS = r"(?:handsight|(?=(?:train-teacher|train-student|evaluate|compare|check-env) ))"
"""How a command line begins; in a sentence `handsight` may be left out."""
INLINE = re.compile(rf"`((?:[A-Z_]+=\S+ )?(?:uv run )?{OURS}[^`]+)`")
CHOICE = re.compile(r"\{([^{}]*,[^{}]*)\}")
SHELLS = ("", "sh", "bash", "console")


def shell_blocks(text: str) -> list[str]:
    """The blocks of a page that a reader would paste into a terminal."""
    return [block for language, block in FENCE.findall(text) if language in SHELLS]


def command_lines(text: str) -> Iterator[list[str]]:
    """The words of every `handsight ...` of a page, in blocks and in sentences, without what stands before `handsight`;
    {a,b} is both, and what may be left out, [so], is left in."""
    blocks = [line for block in shell_blocks(text) for line in block.replace("\\\n", " ").splitlines()]
    sentences = INLINE.findall(FENCE.sub("", text))
    said = [" ".join(sentence.split()) for sentence in sentences]
    for line in itertools.chain(blocks, (line if "handsight" in line else f"handsight {line}" for line in said)):
        for part in re.split(r"&&|\|(?= )", line):
            yield from map(_words, _choices(part.replace("[", "").replace("]", ""))) if _is_ours(part) else ()


def all_command_lines() -> list[tuple[str, list[str]]]:
    """(first file, words) of every different command line that the project's pages and notebooks show."""
    texts = {path: path.read_text() for path in PAGES}
    for path in NOTEBOOKS:
        cells = json.loads(path.read_text())["cells"]
        texts[path] = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    found: dict[str, tuple[str, list[str]]] = {}
    for path, text in texts.items():
        for words in command_lines(text):
            found.setdefault(" ".join(words), (str(path.relative_to(ROOT)), words))
    return [*found.values()]


def _is_ours(line: str) -> bool:
    return re.match(r"\s*(\$ )?([A-Z_]+=\S+ )*(uv run )?handsight [a-z][a-z-]*(?![a-z:-])", line) is not None


def _choices(line: str) -> Iterator[str]:
    found = CHOICE.search(line)
    if found is None:
        yield line
        return
    for one in found[1].split(","):
        yield from _choices(line[: found.start()] + one + line[found.end() :])


def _words(line: str) -> list[str]:
    words = shlex.split(line, comments=True)
    return [word for word in words[words.index("handsight") + 1 :] if word != "..."]
