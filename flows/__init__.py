"""Prefect flows: the order, the retries and the reports of what the library computes."""
