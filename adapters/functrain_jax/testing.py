"""The tools of `functrain.testing` for modules of JAX."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from functrain import __version__
from functrain.testing.values import described, digest, of_classes
from functrain.testing.verdict import nothing
from functrain.trainer import checkpoint as checkpoints
from functrain.trainer import generators, metrics_state
from functrain.trainer.functional import Step
from functrain.trainer.metrics import Metrics
from functrain_jax import checkpoint, snapshot
from functrain_jax.aside import set_aside
from functrain_jax.binding import Bindings
from functrain_jax.keys import is_key
from functrain_jax.module_step import functional
from functrain_jax.order import ordered, plain

LOOP = {
    "position": ["start", ""], "called": [], "source": {"cursor": None, "loader_rng": None}, "in_epoch": False,
    "ended": False, "should_stop": False, "before": 0, "outputs": None, "published": {}, "logged": {},
    "val_loaders": [],
}  # fmt: skip
"""The loop's part of a checkpoint where no loop runs."""


def _named(tree: Any) -> dict[str, np.ndarray]:
    return {name: np.array(leaf) for name, leaf in snapshot.named(tree).items()}


class JaxTools:
    """What the checks ask of JAX. A state is a tree; the module is never written by the step itself."""

    def functional(self, module: Any, flags: Mapping[str, Any]) -> Step:
        return functional(module, donate=False, **flags)

    @contextmanager
    def precise(self) -> Iterator[Mapping[str, Any]]:
        with jax.enable_x64(True), warnings.catch_warnings():
            # Variables that layers made before keep their type, into which they are cast.
            warnings.simplefilter("ignore", FutureWarning)
            yield {"precision": 64}

    def arrays(self, state: Any, whole: bool = False) -> dict[str, np.ndarray]:
        found = {name: np.array(leaf) for name, leaf in snapshot.weights(state).items()}
        if whole:
            for i, player in enumerate(state.players):
                found |= {f"optimizer {i}: {name}": array for name, array in _named(player.opt).items()}
        return found

    def gradients(self, state: Any) -> Sequence[dict[str, np.ndarray | None]]:
        return [{**_named(player.acc.grads)} if int(player.acc.count) else {} for player in state.players]

    def frozen(self, module: Any) -> frozenset[str]:
        return frozenset()

    def unmoved(self, state: Any) -> Sequence[str]:
        return ()  # configure_optimizers that leaves out a part is refused

    def with_values(self, state: Any, values: Mapping[str, np.ndarray]) -> Any:
        paths, structure = jax.tree.flatten(state.params)
        named = zip(snapshot.named(state.params), paths, strict=True)
        # In the very place of the old ones, so that what is compiled stays so.
        new = [jax.device_put(np.asarray(values.get(name, old), old.dtype), old.sharding) for name, old in named]
        return state._replace(params=jax.tree.unflatten(structure, new))

    def attributes(self, module: Any, state: Any) -> dict[str, Any]:
        left_out = {*Bindings(module).names, *module._of_a_run}
        found = {name: described(value, _known) for name, value in vars(module).items() if name not in left_out}
        # Python draws from them while it traces, which makes constants.
        states = generators.states(generators.held(module))
        draws = {f"the generator {path}": digest(state.encode()) for path, state in states.items()}
        return {**of_classes(type(module), _known), **found, **draws}

    def reloaded(self, step: Step, state: Any, path: str) -> Any:
        about = {"format": checkpoints.FORMAT, "version": __version__, "weights_only": False}
        clock = {name: int(count) for name, count in state.clock._asdict().items()}
        metrics = metrics_state.state_dict(Metrics())
        saved = {"functrain": about, "clock": clock, "loop": LOOP, "metrics": metrics, **snapshot.taken_apart(state)}
        checkpoint.write(path, saved)
        return step.load(path)._replace(metrics=state.metrics)

    @contextmanager
    def evaluating(self, module: Any) -> Iterator[None]:
        with set_aside(module):
            Bindings(module).set_mode(False)
            yield

    def taken_apart(self, tree: Any) -> tuple[list[np.ndarray], Callable[[Sequence[np.ndarray]], Any]]:
        leaves, structure = jax.tree.flatten(ordered(tree))
        places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, np.ndarray | jax.Array) and not is_key(leaf)]

        def made(arrays: Sequence[np.ndarray]) -> Any:
            new = list(leaves)
            for place, array in zip(places, arrays, strict=True):
                new[place] = jnp.asarray(array) if isinstance(leaves[place], jax.Array) else array
            return plain(jax.tree.unflatten(structure, new))

        return [np.asarray(leaves[place]) for place in places], made

    def given(self, batch: Any) -> Any:
        return batch

    def spread(self, law: str, tree: Any, devices: int, samples: int | None) -> Any:
        there = jax.local_devices()
        if len(there) < devices:
            nothing(
                law,
                f"{devices} replicas need as many devices, and JAX has {len(there)} here "
                f"({', '.join(sorted({device.platform for device in there}))}); of a CPU there are more with "
                f"XLA_FLAGS=--xla_force_host_platform_device_count={devices} in the environment before jax is imported",
            )
        mesh = Mesh(np.array(there[:devices]), ("data",))

        def placed(leaf: Any) -> Any:
            cut = samples is not None and np.ndim(leaf) > 0 and np.shape(leaf)[0] == samples
            spec = PartitionSpec("data") if cut else PartitionSpec()
            return jax.device_put(leaf, NamedSharding(mesh, spec))

        return jax.tree.map(placed, tree)


def _known(value: Any) -> np.ndarray | None:
    if not isinstance(value, jax.Array):
        return None
    return np.asarray(jax.random.key_data(value) if is_key(value) else value)
