"""Links to Markdown files of the repository that are no pages (stored results): as files."""

from __future__ import annotations

import re
from pathlib import Path

from sphinx.application import Sphinx

_LINK = re.compile(r"\]\(([^():#\s]+\.md)\)")


def as_files(app: Sphinx, docname: str, source: list[str]) -> None:
    """Rewrite them; a link to nothing stays as it is, and is a warning."""
    folder = (Path(app.srcdir) / docname).parent

    def rewrite(found: re.Match[str]) -> str:
        file = (folder / found[1]).resolve()
        page = app.env.path2doc(str(file)) if Path(app.srcdir) in file.parents else None
        if page in app.env.found_docs or not file.exists():
            return found[0]
        return f"](<path:{found[1]}>)"

    source[0] = _LINK.sub(rewrite, source[0])


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("source-read", as_files)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
