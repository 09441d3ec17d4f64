"""The site of R2D2's documentation: `make docs` builds it in build/docs.

The pages are Markdown with relative links, so they also read well where a forge shows them. The source of the site is
the whole repository: so a link to ../CONTRIBUTING.md leads to a page of it, and one to a file gives the file.
"""

import importlib.metadata
import os
import sys
from pathlib import Path

_REPOSITORY = Path(__file__).resolve().parent.parent
_FOLDERS = ("docs", "benchmarks", "r2d2")  # Sphinx looks through no others

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # autodoc imports TensorFlow, which would speak between warnings
sys.path[:0] = [str(Path(__file__).parent), str(_REPOSITORY)]

project = "R2D2"
author = "The authors of R2D2"
copyright = "the authors of R2D2, under the MIT licence"
version = release = importlib.metadata.version("r2d2")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "docstrings"]
autodoc_member_order = "groupwise"
autodoc_class_signature = "separated"
autodoc_typehints = "signature"
autodoc_type_aliases = {"ArrayLike": "ArrayLike", "NDArray": "NDArray"}
autodoc_default_options = {"exclude-members": "model_config, model_post_init, __init__, __new__"}
autodoc_typehints_format = "short"
napoleon_google_docstring = napoleon_numpy_docstring = False  # docstrings.py reads them
napoleon_use_ivar = True
default_role = "code"
root_doc = "docs/index"
source_suffix = {".md": "markdown"}
include_patterns = [
    "docs/**.md",
    "benchmarks/README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "r2d2/zoo/shipped/LICENSE.md",
]
exclude_patterns = [
    *(path.name for path in _REPOSITORY.iterdir() if path.is_dir() and path.name not in _FOLDERS),
    "**/__pycache__",
    "benchmarks/results",
]
nitpicky = True
nitpick_ignore_regex = [("py:.*", ".*")]  # types of other libraries, whose lists of names lie elsewhere

myst_heading_anchors = 4  # the names that forges give to headings
myst_enable_extensions = ["colon_fence"]
highlight_language = "none"

html_theme = "furo"
html_title = "R2D2"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_extra_path = ["_root"]
html_search_scorer = str(Path(__file__).with_name("scorer.js"))
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"sidebar_hide_name": False, "navigation_with_keys": True}
