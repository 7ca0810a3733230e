"""The configuration of Sphinx for `sh run docs`.

The source directory is the root of the repository, so that README, SECURITY and the SDKs' own pages are part of the
site and every link means the same in a checkout and in the site.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "flagent-cdc"
author = "the authors of flagent-cdc"
copyright = "the authors of flagent-cdc, Apache 2.0"
extensions = ["myst_parser", "local_links", "sphinx_copybutton"]
root_doc = "docs/index"
include_patterns = ["docs/**.md", "*.md", "sdk/*/README.md"]
# A build walks through every folder that is not excluded.
exclude_patterns = [".*", "build", "dist", "**/node_modules", "**/target", "**/__pycache__"]
nitpicky = True

myst_enable_extensions = ["attrs_block"]
myst_heading_anchors = 4

# What is pasted from a terminal is its commands alone: without prompts, and without what they print.
copybutton_prompt_text = r"\$ |> "
copybutton_prompt_is_regexp = True
copybutton_only_copy_prompt_lines = True
copybutton_remove_prompts = True

html_theme = "furo"
html_title = "flagent-cdc"
html_extra_path = ["site"]
html_copy_source = False
# The highlighter of terminals does not support commands over several lines.
suppress_warnings = ["misc.highlighting_failure"]
# Indented blocks may be commands, tables of bytes or drawings.
highlight_language = "none"
