"""What a loss function returns beside the loss is in the report of `make_step`."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from functrain_jax import make_step

BATCH = np.arange(8, dtype=np.float32)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("as_pair", [True, False])
def test_what_stands_beside_the_loss_is_in_the_report(as_pair, accumulate):
    def loss_fn(params, batch):
        loss, aux = (params["w"] * batch).mean(), {"most": batch.max(), "parts": {"least": batch.min()}}
        return (loss, aux) if as_pair else {"loss": loss, **aux}

    init, step, epoch = make_step(loss_fn, optax.sgd(0.1), accumulate=accumulate)[:3]
    state, report = step(init({"w": jnp.ones(())}), BATCH)
    assert float(report.loss) == 3.5
    assert float(report.logged["most"]) == 7
    assert float(report.logged["parts"]["least"]) == accumulate - 1  # of the last micro-batch
    _, reports = epoch(state, np.stack([BATCH, 2 * BATCH]))
    assert reports.logged["most"].tolist() == [7, 14]
