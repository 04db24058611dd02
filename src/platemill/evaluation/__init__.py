"""How well plates are found and read in labelled photos, measured through the served models.

``labels``, ``matching`` and ``measures`` need numpy alone, so that a training measures with the
same definitions; the other modules run photos through Triton and show what came of it.
"""
