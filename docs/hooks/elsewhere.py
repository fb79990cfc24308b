"""MkDocs hook: what pages link to outside of docs/ (tables, figures, sweeps, code) becomes part of the site.

So the same relative link works in the repository's browser and on the site. Markdown becomes a page, a picture is copied, any
other text is shown as a page of code, and a folder as the list of its files.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"(?<=\]\()(?P<path>[\w./-]+)(?P<anchor>#[\w-]+)?(?=\))")
PICTURES = (".svg", ".png")
LANGUAGES = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".toml": "toml", ".csv": "text", ".tex": "latex"}
LISTED = (".md", ".yaml", ".toml", ".py")  # of a folder


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for page in list(files.documentation_pages()):
        for link in LINK.finditer(page.content_string):
            if (outside := _outside(page.src_uri, link["path"])) is not None:
                _add(files, config, outside, page.src_uri)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    def there(link: re.Match[str]) -> str:
        outside = _outside(page.file.src_uri, link["path"])
        if outside is None:
            return link[0]
        return _relative(_place(outside), page.file.src_uri) + (link["anchor"] or "")

    return LINK.sub(there, markdown)


def _outside(source: str, path: str) -> str | None:
    """The path in the repository that a page's link leads to; None if it stays within docs/."""
    target = posixpath.normpath(posixpath.join("docs", posixpath.dirname(source), path))
    return None if target.startswith("docs/") else target


def _place(path: str) -> str:
    """Where a file of the repository lies on the site."""
    if (ROOT / path).is_dir():
        return f"{path}/index.md"
    return path if path.endswith((".md", *PICTURES)) else f"{path}.md"


def _relative(place: str, source: str) -> str:
    return posixpath.relpath(place, posixpath.dirname(source) or ".")


def _add(files: Files, config: MkDocsConfig, path: str, source: str) -> None:
    """Put a file of the repository, and those that it lists, on the site, once."""
    place = _place(path)
    if files.get_file_from_path(place) is not None:
        return
    if not (ROOT / path).exists():
        raise PluginError(f"{source} links to {path}, which is not in the repository")
    if path.endswith(PICTURES):
        files.append(File.generated(config, place, abs_src_path=str(ROOT / path)))
        return
    files.append(File.generated(config, place, content=_content(path), inclusion=InclusionLevel.NOT_IN_NAV))
    for listed in _listed(path):
        _add(files, config, listed, place)


def _content(path: str) -> str:
    file = ROOT / path
    if file.is_dir():
        rows = "\n".join(f"* [{Path(p).name}]({_relative(_place(p), _place(path))})" for p in _listed(path))
        return f"---\nsearch: {{exclude: true}}\n---\n\n# {path}\n\n{rows}\n"
    text = file.read_text(encoding="utf-8")
    if path.endswith(".md"):
        return text
    return (
        f"---\nsearch: {{exclude: true}}\n---\n\n# {path}\n\n````{LANGUAGES.get(file.suffix, 'text')}\n{text}\n````\n"
    )


def _listed(path: str) -> Iterator[str]:
    if (ROOT / path).is_dir():
        yield from (f"{path}/{file.name}" for file in sorted((ROOT / path).iterdir()) if file.suffix in LISTED)
