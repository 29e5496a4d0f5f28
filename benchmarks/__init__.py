"""The budgets, measured: `python -m benchmarks` prints them as ratios, side by side in one run. Nothing here passes or fails."""
