"""What a run shows of itself: how fast it is, logs, metrics and traces. It never ends a run."""
