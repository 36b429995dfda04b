"""Run by test_devices.py in a process that sees two devices: prints what happened."""

from tempfile import TemporaryDirectory

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

import functrain_jax as ft
from functrain_jax.io import JaxCheckpointIO
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
    print("read:", places_of_what_is_read(spread))


def places_of_what_is_read(spread):
    """Which of a checkpoint's arrays stand where those that they are read for stand, and are what was written."""
    with TemporaryDirectory() as folder:
        first, second = jax.devices()
        io, path = JaxCheckpointIO(SingleDeviceSharding(first)), f"{folder}/a.ckpt"
        saved = {"state_dict": {"w": X, "other": X[:3], "new": X[:2]}, "players": [{"optimizer": {"m": X}}]}
        io.save(path, saved).wait()
        like = {
            "state_dict": {"w": jax.device_put(X, spread), "other": jax.device_put(X, spread)},
            "players": [{"optimizer": {"m": jax.device_put(X, second)}}],
        }
        found = io.load(path, lambda: like)
    weights, m = found["state_dict"], found["players"][0]["optimizer"]["m"]
    assert all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(saved), strict=True))
    return [
        weights["w"].sharding == spread, m.devices() == {second}, weights["other"].devices() == {first},
        weights["new"].devices() == {first},
    ]  # fmt: skip


main()
