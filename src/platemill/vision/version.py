"""Version of the pre- and post-processing; part of every recognition's `pipeline_version`."""

PREPOST_VERSION: str = "2"
"""Bump whenever `detector`, `crops`, `ctc` or `plates` would return something else for the same
profile."""
