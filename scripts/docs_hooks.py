"""Hooks of mkdocs: pages that are made from the code when the site is built."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Put the pages among the others."""
    sys.path.insert(0, str(Path(__file__).parent))
    import docs_pages

    pages = {"cli": docs_pages.commands, "configuration": docs_pages.configuration, "rpc": docs_pages.verbs}
    for name, make in pages.items():
        files.append(File.generated(config, f"reference/{name}.md", content=make()))
    return files
