"""The documented API, block by block and name by name."""
