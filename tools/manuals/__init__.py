"""The manual pages in docs/: what has a source elsewhere is written into them from there, the rest stands in the pages.

A page is written by hand, but for its regions: the lines between `.\\" begin NAME` and `.\\" end NAME`. NAME says what
stands there: `synopsis`, `commands` and `options` come from the commands' own --help, `settings` from the comments in
conf/*.toml and the types and bounds in settings.py. `python -m tools.manuals` writes them anew, `--check` only tells
whether it would change something. A command that has no page yet gets one.
"""
