"""Golden files: the recorded order of every hook of a small run, the same for every adapter."""
