"""The crash matrix: nights that are killed at named points, and what must hold afterwards."""
