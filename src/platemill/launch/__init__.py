"""What starts and drives a night: its stages, the private Ray cluster and its jobs."""
