"""What ``feast apply`` registers: everything that platemill generates from its schema.

Feast looks for its objects among a module's names, so each of them becomes one.
"""

from platemill.features.definitions import definitions

globals().update(definitions())
