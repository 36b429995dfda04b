"""What a step writes: into parameters that no optimizer moves, into those that one does, into plain attributes."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import functrain_jax as ft
from tests.adapters.jax.common import Batches, Plain, bits, close, everything, same, trainer

RATE = 0.1


class Polyak(ft.Module):
    """A network, and another that follows it."""

    def __init__(self, write="update"):
        self.net = nnx.Linear(6, 3, rngs=nnx.Rngs(0))
        self.target = nnx.Linear(6, 3, rngs=nnx.Rngs(1))
        self.write = write

    def training_step(self, batch, batch_idx):
        x, _ = batch
        aim = jax.lax.stop_gradient(self.target(x))
        loss = ((self.net(x) - 0.5 * aim - 1.0) ** 2).mean()
        if self.write == "update":
            pairs = nnx.state(self.target), nnx.state(self.net)
            nnx.update(self.target, jax.tree.map(lambda t, o: (1 - RATE) * t + RATE * o, *pairs))
        elif self.write == "item":
            self.target.kernel[...] = (1 - RATE) * self.target.kernel[...] + RATE * self.net.kernel[...]
        return loss

    def configure_optimizers(self):
        return {"net": optax.sgd(0.05), "target": None}


def by_hand(module, batches):
    def linear(p, x):
        return x @ p["kernel"] + p["bias"]

    net, target = ({k: getattr(n, k)[...] for k in ("kernel", "bias")} for n in (module.net, module.target))
    for x, _ in batches:
        grad = jax.grad(lambda p, x=x, t=target: ((linear(p, x) - 0.5 * linear(t, x) - 1.0) ** 2).mean())(net)
        target = jax.tree.map(lambda t, o: (1 - RATE) * t + RATE * o, target, net)
        net = jax.tree.map(lambda p, g: p - 0.05 * g, net, grad)
    return bits(net), bits(target)


def test_a_target_network_that_no_optimizer_moves_follows_by_nnx_update():
    module, loader = Polyak(), Batches()
    net, target = by_hand(module, loader.batches)
    trainer(max_epochs=1).fit(module, loader)
    close(bits({k: getattr(module.net, k)[...] for k in net}), net, 1e-5)
    close(bits({k: getattr(module.target, k)[...] for k in target}), target, 1e-5)


def test_a_target_network_is_kept_by_checkpoints(tmp_path):
    whole, parts = Polyak("item"), Polyak("item")
    run = trainer(tmp_path, max_epochs=3)
    run.fit(whole, Batches())
    first = trainer(tmp_path, max_epochs=1)
    first.fit(parts, Batches())
    first.save_checkpoint(str(tmp_path / "one.ckpt"))
    again = Polyak("item")
    second = trainer(tmp_path, max_epochs=3)
    second.fit(again, Batches(), ckpt_path=str(tmp_path / "one.ckpt"))
    same(everything(second)[:3], everything(run)[:3])
    same(bits(again.target.kernel[...]), bits(whole.target.kernel[...]))


def test_in_low_precision_a_target_keeps_its_bits_and_a_frozen_part_computes_low():
    seen = []

    class Spies(Polyak):
        def training_step(self, batch, batch_idx):
            seen.append((self.net.kernel[...].dtype, self.target.kernel[...].dtype))
            return super().training_step(batch, batch_idx)

    moved = Spies()
    trainer(max_epochs=1, precision="bf16").fit(moved, Batches())
    assert seen[-1] == (jnp.bfloat16, jnp.float32)
    assert moved.target.kernel[...].dtype == jnp.float32
    frozen = Spies("nothing")
    before = bits(frozen.target.kernel[...])
    trainer(max_epochs=1, precision="bf16").fit(frozen, Batches())
    assert seen[-1] == (jnp.bfloat16, jnp.bfloat16)
    same(bits(frozen.target.kernel[...]), before)


class Owned(Polyak):
    def configure_optimizers(self):
        return optax.sgd(0.05)


@pytest.mark.parametrize("write", ["update", "item"])
def test_writing_what_an_optimizer_moves_is_an_error_that_names_it(write):
    module = Owned(write)
    before = bits(module.target.kernel[...])
    with pytest.raises(ft.ConfigurationError, match=r"writes into self\.target\.\w+.*optimizer moves.*'target': None"):
        trainer(max_epochs=1).fit(module, Batches())
    same(bits(module.target.kernel[...]), before)


def test_writing_into_the_plain_tree_of_parameters_is_an_error_unless_nobody_moves_it():
    class Writes(Plain):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            self.params["b"] = self.params["b"] + 1
            return loss

    module = Writes()
    with pytest.raises(ft.ConfigurationError, match=r"writes into self\.params\.b"):
        trainer(max_epochs=1).fit(module, Batches())
    assert set(module.params) == {"w", "b"}

    class Counts(Polyak):
        def __init__(self):
            super().__init__("nothing")
            self.params = {"b": jnp.zeros(3)}

        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            self.params["b"] = self.params["b"] + 1
            return loss

        def configure_optimizers(self):
            return {"net": optax.sgd(0.05), "target": None, "params": None}

    module = Counts()
    trainer(max_epochs=2).fit(module, Batches())
    np.testing.assert_array_equal(module.params["b"], np.full(3, 24.0))


def test_what_only_passes_through_transforms_of_nnx_is_not_written():
    """It is trained as if it had been called without them, and what no optimizer moves stays as it is."""

    class Calls(Polyak):
        def training_step(self, batch, batch_idx):
            x, _ = batch
            y = self.net(x) + self.net(x)
            return (jnp.where(batch_idx > 3, self.net(x), 2 * self.net(x)) + y + self.target(x)).sum()

        def configure_optimizers(self):
            return {"net": optax.sgd(1e-4), "target": None}

    class Through(Calls):
        def training_step(self, batch, batch_idx):
            x, _ = batch
            y = nnx.remat(lambda m, x: m(x))(self.net, x)
            y = y + nnx.jit(lambda m, x: m(x))(self.net, x)
            y = y + nnx.jit(lambda m, x: m(x))(self.target, x)
            return (nnx.cond(batch_idx > 3, lambda m: m(x), lambda m: 2 * m(x), self.net) + y).sum()

    class Owned(Through):
        def configure_optimizers(self):
            return optax.sgd(1e-4)

    def trained(module):
        trainer(max_epochs=1).fit(module, Batches())
        return [bits(nnx.to_pure_dict(nnx.state(net))) for net in (module.net, module.target)]

    start = bits(nnx.to_pure_dict(nnx.state(Calls().target)))
    plain, through, owned = trained(Calls()), trained(Through()), trained(Owned())
    same(through[1], start)
    close(through[0], plain[0])
    close(owned[0], plain[0])
    assert any((owned[1][name] != start[name]).any() for name in start)


def number(module):
    module.n += 1


def container(module):
    module.seen.append(1)


def inside(module):
    module.stats["n"] += 1


@pytest.mark.parametrize(("count", "name"), [(number, "n"), (container, "seen"), (inside, "stats")])
def test_counting_batches_in_a_plain_attribute_is_an_error(count, name):
    class Counts(Plain):
        def __init__(self):
            super().__init__()
            self.n, self.seen, self.stats = 0, [], {"n": 0}

        def training_step(self, batch, batch_idx):
            count(self)
            return super().training_step(batch, batch_idx)

    module = Counts()
    with pytest.raises(ft.ConfigurationError, match=rf"self\.{name} was .*inside a compiled step.*self\.vars"):
        trainer(max_epochs=1).fit(module, Batches())
    assert (module.n, module.seen, module.stats) == (0, [], {"n": 0})


def test_the_position_through_self_trainer_is_traced():
    class Looks(Plain):
        def training_step(self, batch, batch_idx):
            self.log("epoch", self.trainer.current_epoch)
            self.log("step", self.trainer.global_step)
            assert self.trainer.max_epochs == 3
            return super().training_step(batch, batch_idx)

    run = trainer(max_epochs=3)
    run.fit(Looks(), Batches())
    assert (int(run.callback_metrics["epoch"]), int(run.callback_metrics["step"])) == (2, 35)


def test_what_a_trace_would_freeze_is_an_error():
    class Reads(Plain):
        def training_step(self, batch, batch_idx):
            return super().training_step(batch, batch_idx) * self.trainer.callback_metrics.get("loss", 1.0)

    class Stops(Plain):
        def training_step(self, batch, batch_idx):
            self.trainer.should_stop = True
            return super().training_step(batch, batch_idx)

    with pytest.raises(ft.ConfigurationError, match=r"self\.trainer\.callback_metrics was read inside a compiled step"):
        trainer(max_epochs=1).fit(Reads(), Batches())
    with pytest.raises(ft.ConfigurationError, match=r"self\.trainer\.should_stop was set inside a compiled step"):
        trainer(max_epochs=1).fit(Stops(), Batches())
