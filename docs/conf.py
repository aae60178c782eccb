"""The site: ``python -m sphinx -W --keep-going docs docs/_build``, or ``tox -e docs``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent / "_ext"), str(Path(__file__).parent.parent)]

import dgl_gmpool  # noqa: E402

project = "dgl-gmpool"
author = copyright = "the dgl-gmpool authors"
version = release = dgl_gmpool.__version__

extensions = [
    "myst_nb",  # myst_parser, and notebooks
    "sphinx.ext.autodoc",
    "numpydoc",
    "commands",
    "poolings",
    "public_names",
    "mathml",
    "repository_links",
]
# Stored results are read by pages and linked, and are no pages.
exclude_patterns = ["_build", "results"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4

# Notebooks hold no outputs: what is shown comes from this build, and an error ends it.
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_merge_streams = True

smartquotes = False  # --flag is no dash

autodoc_typehints = "none"  # the docstrings say them
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_title = f"dgl-gmpool {release}"
html_show_sphinx = False
html_math_renderer = "mathml"  # no script and no network
html_copy_source = False
