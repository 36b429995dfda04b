"""Runs by itself, on eight devices: what a step does with arrays that are spread over them, as lines for the tests."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import functrain_jax as ft

MESH = Mesh(np.array(jax.devices()), ("d",))
WHOLE, ROWS, COLUMNS = (NamedSharding(MESH, PartitionSpec(*spec)) for spec in ((), ("d",), (None, "d")))


class Net(ft.Module):
    def __init__(self):
        rngs = nnx.Rngs(0)
        self.net = nnx.Sequential(
            nnx.Linear(6, 16, rngs=rngs), nnx.LayerNorm(16, rngs=rngs), nnx.Linear(16, 8, rngs=rngs)
        )

    def loss(self, batch):
        return optax.softmax_cross_entropy_with_integer_labels(self.net(batch[0]), batch[1]).mean()

    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        self.log("loss", loss, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val", self.loss(batch))

    def configure_optimizers(self):
        return optax.inject_hyperparams(optax.sgd)(learning_rate=0.1, momentum=0.9)


RANDOM = np.random.default_rng(0)
BATCHES = [
    (RANDOM.normal(size=(32, 6)).astype(np.float32), RANDOM.integers(0, 8, 32).astype(np.int32)) for _ in range(4)
]
SPREAD = [jax.device_put(batch, ROWS) for batch in BATCHES]


def in_parts(leaf):
    """Matrices are cut along their columns."""
    return jax.device_put(leaf, COLUMNS if jnp.ndim(leaf) == 2 else WHOLE)


PLACES = {"whole": lambda state: jax.device_put(state, WHOLE), "parts": lambda state: jax.tree.map(in_parts, state)}


def furthest(a, b):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return max(float(np.abs(np.asarray(x) - np.asarray(y)).max()) for x, y in pairs)


def steps(flags, place, jitted):
    """How far four steps are from those of one device; where the parameters are then; what is brought together."""
    step = ft.functional(Net(), donate=False, **flags)
    alone, state = step.init(0), PLACES[place](step.init(0))
    own = jax.tree.map(lambda leaf: leaf.sharding, state.params)
    call = jax.jit(step.step) if jitted else step.step
    for batch, spread in zip(BATCHES, SPREAD, strict=True):
        alone, first = step.step(alone, batch)
        state, second = call(state, spread)
    same = jax.tree.all(
        jax.tree.map(lambda leaf, where: leaf.sharding.is_equivalent_to(where, leaf.ndim), state.params, own)
    )
    text = jax.jit(step.step).lower(state, SPREAD[0]).compile().as_text()
    gathered = [form for form in re.findall(r"= \w+\[([\d,]*)\]\S* all-gather", text) if form.split(",")[0] == "32"]
    return furthest([alone.params, first.loss], [state.params, second.loss]), same, gathered


def seeds():
    step = ft.functional(Net(), donate=False)
    keys = jax.random.split(jax.random.key(0), 8)
    states = jax.jit(jax.vmap(step.init), out_shardings=ROWS)(keys)
    after, report = jax.jit(jax.vmap(step.step, (0, None)))(states, jax.device_put(BATCHES[0], WHOLE))
    alone, _ = jax.vmap(step.step, (0, None))(jax.vmap(step.init)(keys), BATCHES[0])
    held = jax.vmap(step.init)(jax.device_put(keys, ROWS))
    return furthest(alone.params, after.params), report.loss.sharding.spec, held.rng.sharding.spec


def loops():
    step = ft.functional(Net(), donate=False)
    alone, epoch = step.epoch(step.init(0), BATCHES)
    state = jax.device_put(step.init(0), WHOLE)
    stacked = jax.device_put(jax.tree.map(lambda *xs: np.stack(xs), *BATCHES), COLUMNS)
    scanned, _ = jax.lax.scan(step.step, state, stacked)
    whole, report = step.epoch(state, stacked)
    each, _ = step.epoch(state, SPREAD)
    far = furthest([alone.params] * 3, [scanned.params, whole.params, each.params])
    return (
        far,
        furthest(epoch.metrics, report.metrics),
        furthest(step.evaluate(alone, BATCHES), step.evaluate(each, SPREAD)),
    )


def derived():
    step = ft.functional(Net(), donate=False)

    def loss_after(rate, state, batch):
        opt = state.players[0].opt
        opt = opt._replace(hyperparams={**opt.hyperparams, "learning_rate": rate})
        moved, _ = step.step(state.with_player(0, state.players[0]._replace(opt=opt)), batch)
        return step.step(moved, batch)[1].loss

    def both(state, batch):
        losses = jax.vmap(lambda rate: loss_after(rate, state, batch))(jnp.array([1e-3, 1e-2]))
        return losses, jax.grad(loss_after)(jnp.float32(1e-2), state, batch)

    of_batch = jax.jit(jax.grad(lambda x: step.step(step.init(0), (x, BATCHES[0][1]))[1].loss))
    state = step.init(0)
    far = furthest(both(state, BATCHES[0]), both(jax.device_put(state, WHOLE), SPREAD[0]))
    return far, of_batch(BATCHES[0][0]).shape


if __name__ == "__main__":
    for flags in (
        {},
        {"accumulate_grad_batches": 2, "gradient_clip_val": 0.1},
        {"precision": "bf16"},
        {"precision": 16},
    ):
        for place in PLACES:
            print(f"{flags} {place}:", *steps(flags, place, True), sep="; ")
    print("by itself:", *steps({}, "parts", False), sep="; ")
    print("seeds:", *seeds(), sep="; ")
    print("loops:", *loops(), sep="; ")
    print("derived:", *derived(), sep="; ")
