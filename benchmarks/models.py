"""JAX on six kinds of models: Trainer.fit against a jit loop and a scan written by hand, plain, with accumulation, with
clipping and with a loss scale.

`python -m benchmarks.models [model or setting ...]` measures those alone. All contestants take the same numpy batches
from the same list, and train with the same optax optimizer. They take turns epoch by epoch: the loops by hand run in
between the epochs of one fit. The slower one of the loops is measured in the first rounds only, where it is far behind.
"""

from __future__ import annotations

import gc
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import functrain_jax as fj
from benchmarks.measure import machine, median, ratios

ROUNDS = 25
HOPELESS = 1.5
"""A loop by hand that takes so many times the other's time is not measured again."""

CHUNK = 50
WINDOW = 4
CLIP = 1.0
SCALE = 2.0**15

rngs = partial(nnx.Rngs, 0)


class TinyMlp(nnx.Module):
    """4-16-10 in batches of 8, an epoch of 60,000 samples: what a step costs is its dispatch."""

    steps, shape = 7500, (8, 4)

    def __init__(self) -> None:
        self.first, self.last = nnx.Linear(4, 16, rngs=rngs()), nnx.Linear(16, 10, rngs=rngs())

    def __call__(self, x: Any) -> Any:
        return self.last(nnx.relu(self.first(x)))


class LargeMlp(nnx.Module):
    """784-512-512-10 in batches of 128."""

    steps, shape = 60, (128, 784)

    def __init__(self) -> None:
        self.layers = nnx.List([nnx.Linear(784, 512, rngs=rngs()), nnx.Linear(512, 512, rngs=rngs())])
        self.last = nnx.Linear(512, 10, rngs=rngs())

    def __call__(self, x: Any) -> Any:
        for layer in self.layers:
            x = nnx.relu(layer(x))
        return self.last(x)


class ConvNet(nnx.Module):
    """Two convolutions, 1-16-32 on 28 x 28, in batches of 64."""

    steps, shape = 12, (64, 28, 28, 1)

    def __init__(self) -> None:
        self.first = nnx.Conv(1, 16, (3, 3), rngs=rngs())
        self.second = nnx.Conv(16, 32, (3, 3), rngs=rngs())
        self.last = nnx.Linear(7 * 7 * 32, 10, rngs=rngs())

    def __call__(self, x: Any) -> Any:
        for layer in (self.first, self.second):
            x = nnx.max_pool(nnx.relu(layer(x)), (2, 2), strides=(2, 2))
        return self.last(x.reshape(x.shape[0], -1))


class Block(nnx.Module):
    def __init__(self, width: int) -> None:
        self.convs = nnx.List([nnx.Conv(width, width, (3, 3), use_bias=False, rngs=rngs()) for _ in range(2)])
        self.norms = nnx.List([nnx.BatchNorm(width, rngs=rngs()) for _ in range(2)])

    def __call__(self, x: Any) -> Any:
        y = nnx.relu(self.norms[0](self.convs[0](x)))
        return nnx.relu(x + self.norms[1](self.convs[1](y)))


class ResNet(nnx.Module):
    """A stem and three residual blocks with batch normalization, 16 wide on 16 x 16, in batches of 32."""

    steps, shape = 12, (32, 16, 16, 3)

    def __init__(self) -> None:
        self.stem = nnx.Conv(3, 16, (3, 3), rngs=rngs())
        self.blocks = nnx.List([Block(16) for _ in range(3)])
        self.last = nnx.Linear(16, 10, rngs=rngs())

    def __call__(self, x: Any) -> Any:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.last(x.mean((1, 2)))


class Lstm(nnx.Module):
    """One LSTM of 64 over 20 steps of 32, in batches of 32."""

    steps, shape = 100, (32, 20, 32)

    def __init__(self) -> None:
        self.rnn = nnx.RNN(nnx.LSTMCell(32, 64, rngs=rngs()))
        self.last = nnx.Linear(64, 10, rngs=rngs())

    def __call__(self, x: Any) -> Any:
        every: Any = self.rnn(x)
        return self.last(every[:, -1])


class Layer(nnx.Module):
    def __init__(self, width: int) -> None:
        self.norms = nnx.List([nnx.LayerNorm(width, rngs=rngs()) for _ in range(2)])
        self.attention = nnx.MultiHeadAttention(4, width, dtype=jnp.float32, decode=False, rngs=rngs())
        self.up, self.down = nnx.Linear(width, 4 * width, rngs=rngs()), nnx.Linear(4 * width, width, rngs=rngs())

    def __call__(self, x: Any) -> Any:
        x = x + self.attention(self.norms[0](x))
        return x + self.down(nnx.gelu(self.up(self.norms[1](x))))


class Transformer(nnx.Module):
    """Two layers of 4 heads, 64 wide, over 32 places, in batches of 16."""

    steps, shape = 60, (16, 32, 64)

    def __init__(self) -> None:
        self.layers = nnx.List([Layer(64) for _ in range(2)])
        self.last = nnx.Linear(64, 10, rngs=rngs())

    def __call__(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer(x)
        return self.last(x.mean(1))


MODELS: dict[str, Any] = {
    "tiny-mlp": TinyMlp,
    "large-mlp": LargeMlp,
    "convnet": ConvNet,
    "resnet": ResNet,
    "lstm": Lstm,
    "transformer": Transformer,
}
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "accumulation": {"accumulate_grad_batches": WINDOW},
    "clipping": {"gradient_clip_val": CLIP},
    "loss scale": {"precision": 16},
}


def loss_of(net: Any, batch: Any) -> Any:
    x, y = batch
    return optax.softmax_cross_entropy_with_integer_labels(net(x).astype(jnp.float32), y).mean()


class Classifier(fj.Module):
    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def training_step(self, batch: Any, batch_idx: Any) -> Any:
        return loss_of(self.net, batch)

    def configure_optimizers(self) -> Any:
        return optax.adam(1e-3)


def batches(model: Any) -> list[Any]:
    rng = np.random.default_rng(0)
    return [
        (rng.normal(size=model.shape).astype(np.float32), rng.integers(0, 10, model.shape[0]).astype(np.int32))
        for _ in range(model.steps)
    ]


class ByHand:
    """The loops that a user would write, for one model and setting.

    The carry is (params, statistics, optimizer's state, loss scale and the finite updates since it changed). A loop by
    steps of an accumulating run carries the sum of the gradients from call to call; a scan goes over windows.
    """

    def __init__(self, model: Any, setting: str) -> None:
        self.setting = setting
        net = model()
        if setting == "loss scale":
            for _, part in nnx.iter_modules(net):
                if isinstance(part, nnx.BatchNorm):
                    part.dtype = jnp.float16  # its statistics are float32, and so would be all that comes after it
        self.graph, params, rest = nnx.split(net, nnx.Param, ...)
        self.tx = optax.adam(1e-3)
        if setting == "clipping":
            self.tx = optax.chain(optax.clip_by_global_norm(CLIP), self.tx)
        scale = (jnp.float32(SCALE), jnp.int32(0))
        self.start = lambda: jax.tree.map(jnp.copy, (params, rest, self.tx.init(params), scale))

    def gradient(self, carry: Any, batch: Any) -> Any:
        """The gradient of a micro-batch, and the statistics that it leaves."""
        params, rest, _, (scale, _) = carry
        scaled = self.setting == "loss scale"

        def objective(params: Any) -> Any:
            given = (params, batch)
            if scaled:
                given = jax.tree.map(lambda x: x.astype(jnp.float16) if x.dtype == jnp.float32 else x, given)
            net = nnx.merge(self.graph, given[0], jax.tree.map(jnp.asarray, rest))
            loss = loss_of(net, given[1])
            return loss * scale if scaled else loss, nnx.state(net, nnx.Not(nnx.Param))

        grads, after = jax.grad(objective, has_aux=True)(params)
        return grads, jax.tree.map(lambda new, old: new.astype(old.dtype), after, rest)

    def update(self, carry: Any, grads: Any, rest: Any) -> Any:
        params, _, opt, scale = carry
        if self.setting == "loss scale":
            grads = jax.tree.map(lambda g: g / scale[0], grads)
        updates, moved = self.tx.update(grads, opt, params)
        new = optax.apply_updates(params, updates)
        if self.setting == "loss scale":
            finite = jnp.all(jnp.stack([jnp.isfinite(g).all() for g in jax.tree.leaves(grads)]))
            new, moved = jax.tree.map(partial(jnp.where, finite), (new, moved), (params, opt))
            good = jnp.where(finite, scale[1] + 1, 0)
            grown = jnp.where(good == 2000, scale[0] * 2, scale[0])
            scale = jnp.where(finite, grown, scale[0] / 2), good % 2000
        return new, rest, moved, scale

    def step(self, carry: Any, batch: Any) -> Any:
        return self.update(carry, *self.gradient(carry, batch)), None

    def micro(self, carry: Any, total: Any, batch: Any) -> Any:
        grads, rest = self.gradient(carry, batch)
        return (carry[0], rest, *carry[2:]), jax.tree.map(jnp.add, total, grads)

    def close(self, carry: Any, total: Any, batch: Any) -> Any:
        carry, total = self.micro(carry, total, batch)
        carry = self.update(carry, jax.tree.map(lambda g: g / WINDOW, total), carry[1])
        return carry, jax.tree.map(jnp.zeros_like, total)

    def window(self, carry: Any, window: Any) -> Any:
        zeros = jax.tree.map(jnp.zeros_like, carry[0])

        def one(both: tuple[Any, Any], batch: Any) -> Any:
            return self.micro(both[0], both[1], batch), None

        (carry, total), _ = jax.lax.scan(one, (carry, zeros), window)
        return self.update(carry, jax.tree.map(lambda g: g / WINDOW, total), carry[1]), None

    def jitted(self) -> Callable[[list[Any]], Any]:
        """An epoch, one call a batch."""
        single = jax.jit(self.step, donate_argnums=0)
        micro, close = jax.jit(self.micro, donate_argnums=(0, 1)), jax.jit(self.close, donate_argnums=(0, 1))
        carry = self.start()
        total = jax.tree.map(jnp.zeros_like, carry[0])

        def epoch(data: list[Any]) -> Any:
            nonlocal carry, total
            if self.setting != "accumulation":
                for batch in data:
                    carry, _ = single(carry, batch)
            else:
                for i, batch in enumerate(data):
                    carry, total = (close if (i + 1) % WINDOW == 0 else micro)(carry, total, batch)
            return carry

        return epoch

    def scanned(self) -> Callable[[list[Any]], Any]:
        """An epoch, a scan over so many updates a call."""
        body = self.window if self.setting == "accumulation" else self.step
        many = jax.jit(lambda carry, stacked: jax.lax.scan(body, carry, stacked), donate_argnums=0)
        size = WINDOW if self.setting == "accumulation" else 1
        carry = self.start()

        def epoch(data: list[Any]) -> Any:
            nonlocal carry
            for i in range(0, len(data), CHUNK * size):
                stacked = tuple(np.stack(part) for part in zip(*data[i : i + CHUNK * size], strict=True))
                if size > 1:
                    stacked = tuple(x.reshape(-1, size, *x.shape[1:]) for x in stacked)
                carry, _ = many(carry, jax.device_put(stacked))
            return carry

        return epoch


class Rounds(fj.Callback):
    """Measures the Trainer's epochs, and between them those of the loops by hand."""

    def __init__(self, loops: dict[str, Callable[[list[Any]], Any]], data: list[Any]) -> None:
        self.loops, self.data = loops, data
        self.times: dict[str, list[float]] = {name: [] for name in ("trainer", *loops)}
        self.since = time.perf_counter()

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        jax.block_until_ready(trainer.run.engine.state_dict(weights_only=True))
        self.times["trainer"].append(time.perf_counter() - self.since)
        fastest = min((min(t[1:]) for name in self.loops if len(t := self.times[name]) > 1), default=float("inf"))
        for name, epoch in self.loops.items():
            if len(self.times[name]) > 2 and min(self.times[name][1:]) > HOPELESS * fastest:
                continue
            gc.collect()
            start = time.perf_counter()
            jax.block_until_ready(epoch(self.data))
            self.times[name].append(time.perf_counter() - start)
        gc.collect()
        self.since = time.perf_counter()


def measure(model: Any, setting: str, folder: str) -> dict[str, list[float]]:
    """Seconds an epoch of every contestant, round by round; the first, in which programs compile, left out."""
    data, hand = batches(model), ByHand(model, setting)
    rounds = Rounds({"jit": hand.jitted(), "scan": hand.scanned()}, data)
    trainer = fj.Trainer(
        max_epochs=ROUNDS + 1, logger=False, checkpoint_callback=False, progress_bar_refresh_rate=0,
        weights_summary=None, callbacks=[rounds], default_root_dir=folder, **SETTINGS[setting],
    )  # fmt: skip
    trainer.fit(Classifier(model()), data)
    return {name: values[1:] for name, values in rounds.times.items()}


def row(name: str, setting: str, steps: int, times: dict[str, list[float]]) -> str:
    us = {who: median(values) / steps * 1e6 for who, values in times.items()}
    faster = min(("jit", "scan"), key=us.__getitem__)
    ratio = ratios(times["trainer"], times[faster])
    return f"| {name} | {setting} | {us['jit']:.0f} | {us['scan']:.0f} | {us['trainer']:.0f} | {faster} | {ratio:.2f} |"


def main() -> None:
    wanted = sys.argv[1:]
    models = [name for name in MODELS if name in wanted] or list(MODELS)
    settings = [name for name in SETTINGS if name in wanted] or list(SETTINGS)
    print(machine("jax", "flax", "optax"))
    print()
    print("| model | setting | jit loop, us/step | scan, us/step | Trainer, us/step | faster loop | Trainer / faster |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name in models:
            for setting in settings:
                times = measure(MODELS[name], setting, folder)
                print(row(name, setting, MODELS[name].steps, times), flush=True)


if __name__ == "__main__":
    main()
