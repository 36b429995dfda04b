"""The tests. A package, so that they can share the oracle as `tests.oracle`."""
