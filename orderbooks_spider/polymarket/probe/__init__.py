"""A bounded look at the venue's public sources, held against what our pages and the venue's say of them.

``survey.py`` asks, ``claims.py`` holds what is claimed and where, ``checks_*.py`` compare, ``result.py`` and
``page.py`` tell.
"""
