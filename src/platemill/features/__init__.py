"""Tiles as documented features: training sets correct in time, and lookups online.

Feast takes seconds to import, so the modules that need it at their top (``definitions``,
``offline_store``, ``online_store``, ``source``) are imported inside functions only.
"""
