"""The smallest adapter that runs under the Trainer: modules of numpy arrays with gradients by hand. An example of what
a new adapter must write, and the third that the conformance suite holds to its laws."""

from functrain import Trainer
from tests.numpy_adapter.module import Module
from tests.oracle.backend import Micro
from tests.oracle.optimizers import SGD, AdamW

__all__ = ["SGD", "AdamW", "Micro", "Module", "Trainer"]
