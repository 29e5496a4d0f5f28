"""The budgets, measured: `python -m benchmarks` prints them as ratios, side by side. Nothing here passes or fails."""
