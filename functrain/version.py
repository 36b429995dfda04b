"""The version of the distribution: what checkpoints say of who wrote them."""

__version__ = "0.1.0"
