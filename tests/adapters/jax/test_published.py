"""Programs as those published for flax and optax, held against a loop by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

from tests.adapters.jax.common import Batches, Plain, bits, close, cross_entropy, trainer


def schedule():
    return optax.warmup_cosine_decay_schedule(0.0, 0.05, 5, 24)


def by_name(params):
    return jax.tree_util.tree_map_with_path(lambda path, _: "matrix" if path[-1].key == "w" else "rest", params)


OPTIMIZERS = {
    "chain": lambda: optax.chain(optax.clip_by_global_norm(0.3), optax.adamw(schedule(), weight_decay=0.01)),
    "multi_transform": lambda: optax.multi_transform(
        {"matrix": optax.lion(0.01), "rest": optax.set_to_zero()}, by_name
    ),
    "inject_hyperparams": lambda: optax.inject_hyperparams(optax.adamw)(learning_rate=schedule()),
    "schedule_free": lambda: optax.contrib.schedule_free_adamw(0.05, warmup_steps=3),
    "MultiSteps": lambda: optax.MultiSteps(optax.adam(0.05), 3),
    "ema": lambda: optax.chain(optax.adam(0.05), optax.ema(0.9)),
    "add_noise": lambda: optax.chain(optax.add_noise(0.01, 0.5, key=3), optax.sgd(0.1)),
    "plateau": lambda: optax.chain(optax.adam(0.05), optax.contrib.reduce_on_plateau(patience=1, accumulation_size=2)),
}


class Averaged(Plain):
    """Keeps an average of its weights."""

    def __init__(self, tx):
        super().__init__(tx)
        self.vars = {"average": jax.tree.map(jnp.copy, self.params)}

    def training_step(self, batch, batch_idx):
        average = jax.tree.map(lambda a, p: 0.9 * a + 0.1 * p.astype(a.dtype), self.vars["average"], self.params)
        self.vars = {**self.vars, "average": average}
        return super().training_step(batch, batch_idx)


def by_hand(tx, batches, accumulate=1, clip=None, dtype=None):
    params = bits(Plain().params)
    average, opt = params, tx.init(params)

    @jax.jit
    def gradient(params, average, batch):
        low = params if dtype is None else jax.tree.map(lambda p: p.astype(dtype), params)
        average = jax.tree.map(lambda a, p: 0.9 * a + 0.1 * p.astype(a.dtype), average, low)

        def loss(params):
            x, y = batch
            if dtype is not None:
                params, x = jax.tree.map(lambda p: p.astype(dtype), params), x.astype(dtype)
            return cross_entropy(x @ params["w"] + params["b"], y).astype(jnp.float32)

        return *jax.value_and_grad(loss)(params), average

    @jax.jit
    def update(grads, opt, params, loss):
        if clip is not None:
            norm = optax.tree.norm(grads)
            grads = jax.tree.map(lambda g: g * jnp.minimum(1.0, clip / (norm + 1e-6)), grads)
        moved, opt = optax.with_extra_args_support(tx).update(grads, opt, params, value=loss)
        return optax.apply_updates(params, moved), opt

    for start in range(0, len(batches), accumulate):
        grads, losses, window = jax.tree.map(jnp.zeros_like, params), 0.0, batches[start : start + accumulate]
        for batch in window:
            loss, more, average = gradient(params, average, batch)
            grads, losses = jax.tree.map(jnp.add, grads, more), losses + loss
        n = np.float32(len(window))
        params, opt = update(jax.tree.map(lambda g, n=n: g / n, grads), opt, params, losses / n)
    return bits(params), bits(average)


PLAIN = {"log_every_n_steps": 1}, {}
ACCUMULATED = {"accumulate_grad_batches": 5, "gradient_clip_val": 0.2}, {"accumulate": 5, "clip": 0.2}
LOW = {"precision": "bf16"}, {"dtype": jnp.bfloat16}


@pytest.mark.parametrize(
    ("name", "flags", "hand"),
    [
        *[(name, *PLAIN) for name in OPTIMIZERS],
        *[(name, *ACCUMULATED) for name in ("chain", "schedule_free", "plateau")],
        *[(name, *LOW) for name in ("chain", "MultiSteps")],
    ],
)
def test_optimizers_of_optax_train_as_in_a_loop_by_hand(name, flags, hand):
    module, loader = Averaged(OPTIMIZERS[name]()), Batches()
    trainer(max_epochs=1, **flags).fit(module, loader)
    params, average = by_hand(OPTIMIZERS[name](), loader.batches, **hand)
    close(bits(module.params), params, 2e-6)
    close(bits(module.vars["average"]), average, 2e-6)
