"""Sphinx configuration. Builds without a network; a warning is an error (`make docs`)."""

import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent), str(HERE.parent / "adapters")]

project = "functrain"
author = "The functrain maintainers"
copyright = "2026, The functrain maintainers"
version = release = tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"]["version"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "generated"]
exclude_patterns = ["_build", "_generated", "benchmarks_results.md"]
source_suffix = {".md": "markdown"}
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"functrain {release}"
html_show_sourcelink = False

# Docstrings: Google's sections, and a name between single backquotes is code.
default_role = "code"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
# Both adapters have a StepParts, and traces a Context of their own: a bare name in an annotation may mean either.
suppress_warnings = ["ref.python"]
# Text in docstrings of other libraries that our classes inherit is not ours to document.
autodoc_inherit_docstrings = False
