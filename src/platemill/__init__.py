"""platemill: nightly bulk number-plate recognition into a feature store."""

__version__ = "0.1.0"
