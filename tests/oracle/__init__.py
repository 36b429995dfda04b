"""The oracle: a numpy backend with gradients by hand, against which kernel and adapters are tested."""

from tests.oracle.backend import Micro, NumpyBackend, Part
from tests.oracle.models import Batch, averaging, inner, linear, mlp, restless
from tests.oracle.optimizers import SGD, AdamW
from tests.oracle.trees import bits

__all__ = [
    "SGD",
    "AdamW",
    "Batch",
    "Micro",
    "NumpyBackend",
    "Part",
    "averaging",
    "bits",
    "inner",
    "linear",
    "mlp",
    "restless",
]
