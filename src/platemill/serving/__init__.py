"""Triton: the models' tensor contracts, the embedded server, the client, the pipeline's version."""
