"""Pages that are made when the site is built: of the parsers, of the packages' public names, of what lies in the
repository. None of them can go stale."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(Path(__file__).parent))

import reference  # noqa: E402

PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "teachers/zoo/README.md": "zoo.md",
}
"""Files of the repository that are pages of the site, too."""
LINK = re.compile(r"(\]\()([^)#\s]+)([^)\s]*\))")
"""`](target#part)` of Markdown."""
CODE = {".py": "python", ".toml": "toml", ".sh": "bash", ".md": "markdown", ".h": "cpp", ".csv": "text"}
"""Kinds of files that are shown as a page of code; the others are copied as they are."""
SKIPPED = ("__pycache__", ".ipynb_checkpoints")


@event_priority(100)  # before mkdocstrings
def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Show mkdocstrings the package: the repository root is `handsight`, and holds more than the package."""
    stage = tempfile.TemporaryDirectory()
    package = Path(stage.name) / "handsight"
    package.mkdir()
    for path in [*ROOT.glob("*.py"), *(ROOT / name for name in reference.PACKAGES)]:
        (package / path.name).symlink_to(path)
    config.plugins["mkdocstrings"].config.handlers["python"]["paths"] = [stage.name]
    config.extra["stage"] = stage  # lives as long as the build
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what is made, and let every link lead to something that is in the site."""
    pages = {file.src_uri: (f"docs/{file.src_uri}", file.content_string) for file in files.documentation_pages()}
    pages |= {uri: (source, (ROOT / source).read_text()) for source, uri in PAGES.items()}
    pages |= {uri: (f"docs/{uri}", text) for uri, text in reference.pages()}
    linked: dict[str, str] = {}
    for uri, (source, text) in pages.items():
        content = LINK.sub(lambda link: _relinked(link, uri, source, linked), text)  # noqa: B023
        _put(files, File.generated(config, uri, content=content))
    for target, uri in linked.items():
        for file in _copies(config, target, uri):
            _put(files, file)
    return files


def _put(files: Files, file: File) -> None:
    if (before := files.get_file_from_path(file.src_uri)) is not None:
        files.remove(before)
    files.append(file)


def _relinked(link: re.Match[str], uri: str, source: str, linked: dict[str, str]) -> str:
    """The link as it reads in the page `uri`, which was written as the file `source`. What it leads to outside of docs/
    is noted in `linked`: path in the repository -> place in the site."""
    target = link[2]
    if re.match(r"[a-z]+:", target):
        return link[0]
    path = os.path.normpath(ROOT / Path(source).parent / target)
    where = os.path.relpath(path, ROOT)
    if where in PAGES:
        there = PAGES[where]
    elif where.startswith("docs/"):
        there = where.removeprefix("docs/")
    elif where.startswith("..") or not os.path.exists(path):
        return link[0]  # MkDocs says so
    else:
        there = linked.setdefault(where, _place(where))
    return f"{link[1]}{os.path.relpath(there, Path(uri).parent)}{link[3]}"


def _place(where: str) -> str:
    """Where a file or folder of the repository stands in the site."""
    path = ROOT / where
    if path.is_dir():
        return f"repository/{where}/index.md"
    return f"repository/{where}.md" if path.suffix in CODE else f"repository/{where}"


def _copies(config: MkDocsConfig, where: str, uri: str) -> Iterator[File]:
    """The file, or the folder as a list of its files, in the site."""
    path = ROOT / where
    if path.is_dir():
        names = [one for one in sorted(path.iterdir()) if one.name not in SKIPPED]
        rows = []
        for one in names:
            if one.is_file():
                there = _place(f"{where}/{one.name}")
                rows.append(f"- [`{one.name}`]({os.path.relpath(there, Path(uri).parent)})")
                yield from _copies(config, f"{where}/{one.name}", there)
            else:
                rows.append(f"- `{one.name}/`: {sum(1 for file in one.rglob('*') if file.is_file())} files")
        yield _hidden(config, uri, f"# `{where}/`\n\nA folder of the repository.\n\n" + "\n".join(rows))
    elif uri.endswith(".md"):
        fence = "`" * 5
        yield _hidden(config, uri, f"# `{where}`\n\n{fence}{CODE[path.suffix]}\n{path.read_text()}\n{fence}\n")
    else:
        yield File.generated(config, uri, abs_src_path=str(path))


def _hidden(config: MkDocsConfig, uri: str, text: str) -> File:
    """A page that no search finds: copies of code would stand before what explains it."""
    return File.generated(config, uri, content=f"---\nsearch:\n  exclude: true\n---\n{text}")
