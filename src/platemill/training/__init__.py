"""Training, export and evaluation of the three networks. Needs torch (Triton's environment)."""
