"""Do a torch and a JAX module learn the same?"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np

from functrain.testing.distance import furthest, idle, tolerance
from functrain.testing.tools import double_step, tools_of
from functrain.testing.updates import MOST, Update, made
from functrain.testing.verdict import broken, nothing
from functrain.trainer.functional import StepReport, is_module_of
from functrain.trainer.narrow import is_count

LAW = "check_same"
DOUBLE = 1e-6
"""How far double precision may be off, where what is made once, is of single precision: a table of positions, say."""

SAME_NAMES = {
    "weight": ("kernel", "scale", "embedding", "weight"),
    "bias": ("bias",),
    "running_mean": ("mean",),
    "running_var": ("var",),
}
"""What the end of a torch path is called in flax."""

AXES = {2: (1, 0), 3: (2, 1, 0), 4: (2, 3, 1, 0), 5: (2, 3, 4, 1, 0)}
"""From torch's order of a kernel's axes (out, in, places) to that of flax (places, in, out)."""

CAUSE = (
    "a default that is another one: epsilon or momentum of a normalisation (flax's momentum is 1 less torch's), weight "
    "decay, the optimizer's epsilon, a mean in place of a sum, another formula of the same name (gelu), or dropout"
)


def check_same(
    torch_module: Any,
    jax_module: Any,
    batches: Any,
    *,
    names: Mapping[str, str] | Callable[[str], str] | None = None,
    updates: int = 3,
    rtol: float | None = None,
    seed: int = 0,
    **flags: Any,
) -> None:
    """A module of torch and one of JAX that begin with the same weights, those of torch, agree in the losses and the
    parameters of so many updates.

    They are compared in double precision, in which another epsilon or another weight decay stands out from rounding;
    with a `precision` among the flags in that one. The running variance of a normalisation is not compared, since torch
    corrects it by n / (n - 1), and flax does not; its momentum and epsilon show elsewhere.

    Args:
        torch_module, jax_module: what both train with must be the same: the loss, the optimizer, its learning rate.
        batches: a list of batches with arrays of numpy, which come again and again, or one such batch.
        names: the JAX path of each torch path; default: the same path, with the names that flax gives to what ends it
            ('weight' is 'kernel', 'scale' or 'embedding'). Kernels are transposed as both worlds lay them out.
        updates: that are compared.
        rtol: how far a loss, or a parameter, may be off, as a part of its size; default: 1e-6 in double precision, 1e-3
            in single precision, 0.05 in less.

    Raises:
        AssertionError: they do not agree; names the first update and parameter.
        TypeError: one of them is no module of its world.
        ValueError: it is not known which parameters belong together; names them.

    Warns:
        UserWarning: one cannot compute in double precision, so single precision is compared.
    """
    for module, package in ((torch_module, "functrain_torch"), (jax_module, "functrain_jax")):
        if not is_module_of(module, package):
            raise TypeError(f"{LAW}(torch_module, jax_module): {module!r} is no module of {package}.")
    if not is_count(updates, 1):
        raise ValueError(f"{LAW}(updates={updates!r}): must be at least 1.")
    given: Sequence[Any] = batches if isinstance(batches, list) else [batches]
    if not given:
        nothing(LAW, "there is no batch")
    modules = torch_module, jax_module

    def compare(flags: Mapping[str, Any], rtol: float) -> None:
        _compare(_World(torch_module, flags, seed), _World(jax_module, flags, seed), given, names, updates, rtol)

    if "precision" in flags:
        return compare(flags, tolerance(rtol, flags))
    with tools_of(torch_module).precise() as ours, tools_of(jax_module).precise() as theirs:
        double = {**flags, **ours, **theirs}
        if all(double_step(tools_of(each), each, tools_of(each).given(given[0]), double) for each in modules):
            return compare(double, DOUBLE if rtol is None else rtol)
    warnings.warn(
        f"{LAW}: one of the two cannot compute in double precision (a layer or a constant of its own holds on to "
        "float32), so they are compared in single precision, in which small differences do not stand out.",
        UserWarning,
        stacklevel=2,
    )
    return compare(flags, tolerance(rtol, flags))


def _compare(torch: _World, jax: _World, batches: Sequence[Any], names: Any, updates: int, rtol: float) -> None:
    """Give the one in JAX the weights of the other, and hold them against one another after every batch."""
    world = torch, jax
    ours, theirs = world[0].arrays(), world[1].arrays()
    pairs = dict(_pairs(ours, theirs, names))
    begun = {partner: _laid_out(ours[path], theirs[partner], partner) for path, partner in pairs.items()}
    world[1].state = world[1].tools.with_values(world[1].state, begun)
    still = idle(LAW, torch.tools, torch.module, torch.tools.given(batches[0]), torch.seed, torch.flags)
    pairs = {path: other for path, other in pairs.items() if path not in still and not path.endswith("running_var")}
    count = 0
    for number, batch in enumerate(cycle(batches), 1):
        reports = [each.step(batch) for each in world]
        _check_losses(number, made(reports[0]), made(reports[1]), rtol)
        _check_arrays(number, pairs, *world, rtol)
        count += bool(reports[0].closed)
        if count == updates:
            return
        if number == MOST:
            nothing(LAW, f"no update within {MOST} batches; does the step return a loss?")


class _World:
    """One of the modules, and where its state is."""

    def __init__(self, module: Any, flags: Mapping[str, Any], seed: int) -> None:
        self.module, self.flags, self.seed = module, flags, seed
        self.tools = tools_of(module)
        self.function = self.tools.functional(module, flags)
        self.state: Any = self.function.init(seed=seed)

    def arrays(self) -> dict[str, np.ndarray]:
        return self.tools.arrays(self.state)

    def step(self, batch: Any) -> StepReport:
        self.state, report = self.function.step(self.state, self.tools.given(batch))
        return report


def _pairs(ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray], names: Any) -> Iterator[tuple[str, str]]:
    """Yield the paths that belong together."""
    unknown = [path for path in names if path not in ours] if isinstance(names, Mapping) else []
    if unknown:
        raise ValueError(f"{LAW}(names=...): torch has no {', '.join(unknown)}; it has {', '.join(ours)}.")
    left = dict.fromkeys(theirs)
    lost: list[str] = []
    for path in ours:
        found = [other for other in _candidates(path, names) if other in left]
        if len(found) == 1:
            del left[found[0]]
            yield path, found[0]
        elif not path.endswith("num_batches_tracked"):
            lost.append(path)
    rest = [path for path, array in theirs.items() if path in left and np.issubdtype(array.dtype, np.floating)]
    if lost or rest:
        raise ValueError(
            f"{LAW}: which parameters belong together? Of torch {', '.join(lost) or 'none'} found no partner, and of "
            f"JAX {', '.join(rest) or 'none'}. Give names={{'torch.path': 'jax.path'}}."
        )


def _candidates(path: str, names: Any) -> list[str]:
    if callable(names):
        return [str(names(path))]
    if names is not None and path in names:
        return [str(names[path])]
    stem, _, last = path.rpartition(".")
    return [f"{stem}.{name}" if stem else name for name in SAME_NAMES.get(last, (last,))]


def _laid_out(array: np.ndarray, like: np.ndarray, path: str) -> np.ndarray:
    """Return a torch array in the order of axes of its JAX partner, which is at this path."""
    turned = array
    if array.ndim in AXES and not path.endswith("embedding"):
        turned = array.transpose(AXES[array.ndim])
    if turned.shape != like.shape:
        raise ValueError(
            f"{LAW}: {path} of JAX is {like.shape}, and its partner of torch is {array.shape}, which is {turned.shape} "
            "there. Is it the right one?"
        )
    return turned


def _check_losses(number: int, ours: Sequence[Update | None], theirs: Sequence[Update | None], rtol: float) -> None:
    if len(ours) != len(theirs):
        broken(LAW, f"torch has {len(ours)} optimizers, and JAX {len(theirs)}", "another configure_optimizers")
    for i, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        name = f" of optimizer {i}" if len(ours) > 1 else ""
        if (one is None) != (other is None):
            broken(LAW, f"after batch {number} only one of them has made an update{name}", "other flags or frequencies")
        if one is not None and other is not None and not abs(one.loss - other.loss) <= rtol * abs(one.loss):
            where = f"the loss{name} of batch {number} is {one.loss:.7g} in torch and {other.loss:.7g} in JAX"
            broken(LAW, where, CAUSE)


def _check_arrays(number: int, pairs: Mapping[str, str], ours: _World, theirs: _World, rtol: float) -> None:
    arrays, others = ours.arrays(), theirs.arrays()
    laid_out = {path: _laid_out(arrays[path], others[partner], partner) for path, partner in pairs.items()}
    path, error = furthest(laid_out, {path: others[partner] for path, partner in pairs.items()})
    if not error <= rtol:
        where = f"after batch {number} {path} of torch and {pairs[path]} of JAX {laid_out[path].shape}"
        broken(LAW, f"{where} are apart by {error:.2g} of their size", CAUSE)
