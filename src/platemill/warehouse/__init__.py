"""From staged rows to facts, tiles, checks and a file that a stock DuckDB opens."""
