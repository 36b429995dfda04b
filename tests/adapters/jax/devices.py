"""Run by test_devices.py in a process that sees two devices: prints what happened."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import functrain_jax as ft
from tests.adapters.jax.common import Plain, X, Y, trainer


def said(fit):
    try:
        fit()
    except ft.ConfigurationError as error:
        return str(error)
    return "nothing"


def main():
    spread = NamedSharding(Mesh(np.array(jax.devices()), ("data",)), PartitionSpec("data"))
    module = Plain()
    module.params["w"] = jax.device_put(module.params["w"], spread)
    print("model:", said(lambda: trainer(max_epochs=1).fit(module, [(X[:8], Y[:8])])))
    batch = jax.device_put((X[:8], Y[:8].astype(np.int32)), spread)
    print("batch:", said(lambda: trainer(max_epochs=1).fit(Plain(), [batch])))

    def loss(params, batch):
        return jnp.mean((batch @ params["w"]) ** 2)

    step = ft.make_step(loss, optax.sgd(0.1), accumulate=4, donate=False)
    state, rows = step.init({"w": jnp.ones(6)}), jax.device_put(X, spread)
    text = step.step.lower(state, rows).compile().as_text()
    moved = [line for line in text.splitlines() if "all-gather" in line or "all-to-all" in line]
    print("gathers:", len(moved), "reduces:", text.count("all-reduce("))
    whole = ft.make_step(loss, optax.sgd(0.1), donate=False)
    one, _ = step.step(state, rows)
    other, _ = whole.step(whole.init({"w": jnp.ones(6)}), X)
    print("equal:", np.allclose(one.params["w"], other.params["w"], rtol=1e-5))


main()
