"""Version of the pre- and post-processing; part of every recognition's `pipeline_version`."""

PREPOST_VERSION: str = "1"
"""Bump whenever `detector`, `crops`, `ctc` or `plates` would return something else."""
