"""Benchmarks against the peers, in one run and as ratios. Run all with `python -m benchmarks`, or one by its name."""
