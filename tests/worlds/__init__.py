"""Small random programs, each run in several worlds and held against itself. How to read a failure: CONTRIBUTING.md."""
