"""What every adapter owes a run: one set of tests for torch, JAX and numpy."""
