"""What a Ray cluster runs: ``python -m ray_jobs.recognize``."""
