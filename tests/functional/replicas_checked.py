"""Run by test_check_replicas.py in a process that sees two devices: prints what `check_replicas` said of each case."""

from typing import Any

import jax
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import NamedSharding, PartitionSpec

from functrain.testing import check_replicas
from tests.functional.modules_checked import CLASSES, GIVEN, JaxMlp, X, Y


@custom_partitioning
def mean(x):
    return x.mean(0)


mean.def_partition(
    infer_sharding_from_operands=lambda mesh, args, result: NamedSharding(mesh, PartitionSpec()),
    partition=lambda mesh, args, result: (
        mesh, lambda x: x.mean(0), NamedSharding(mesh, PartitionSpec()), (NamedSharding(mesh, PartitionSpec("data")),),
    ),
    sharding_rule="i j -> j",
)  # fmt: skip


class OwnMean(JaxMlp):
    """Each device takes the mean of its own samples for that of all."""

    def training_step(self, batch, batch_idx):
        x, y = batch
        return self.loss(x - jax.lax.stop_gradient(mean(x)), y)


class Small(OwnMean):
    """The same, in a loss that hardly tells."""

    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) + 1000


def said(module: Any, batch: Any, n: int = 2) -> str:
    try:
        check_replicas(module, batch, n)
    except (AssertionError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return "passed"


def main() -> None:
    for name in ("mlp", "conv"):
        print(f"{name}: {said(CLASSES['jax'][name](), GIVEN[name])}")
    print(f"own mean: {said(OwnMean(), (X, Y))}")
    print(f"small: {said(Small(), (X, Y))}")
    print(f"four: {said(JaxMlp(), (X, Y), 4)}")
    print(f"eleven: {said(JaxMlp(), (X[:11], Y[:11]))}")


if __name__ == "__main__":
    main()
