"""Laws for users' own training steps, for any test runner: each check returns, or raises an AssertionError that says
which law is broken, where, and what the usual cause is. Knows no framework: an adapter has the tools for its arrays."""

from functrain.testing.accumulation import check_accumulation
from functrain.testing.gradients import check_gradients
from functrain.testing.leaks import check_no_leak
from functrain.testing.learning import check_loss_at_init, check_overfits
from functrain.testing.module import Result, check_module
from functrain.testing.precision import check_precision
from functrain.testing.purity import check_pure
from functrain.testing.replicas import check_replicas
from functrain.testing.resuming import check_resume
from functrain.testing.same import check_same
from functrain.testing.verdict import NothingToCheck

__all__ = [
    "NothingToCheck",
    "Result",
    "check_accumulation",
    "check_gradients",
    "check_loss_at_init",
    "check_module",
    "check_no_leak",
    "check_overfits",
    "check_precision",
    "check_pure",
    "check_replicas",
    "check_resume",
    "check_same",
]
