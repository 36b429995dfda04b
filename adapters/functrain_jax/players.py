"""What `configure_optimizers` of a JAX module may give, as players: each with its optax transformation and
its parameters. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import optax

from functrain.kernel.plan import PlayerPlan
from functrain.trainer.configured import check_keys, in_turn
from functrain.trainer.errors import ConfigurationError, nearest

KEYS = ("optimizer", "params", "learning_rate", "frequency", "accumulate")
FORMS = (
    "an optax transformation; "
    "a dict of them by the attribute that each moves ({'generator': tx, 'discriminator': tx}); "
    "or a list of dicts with 'optimizer', 'params' (an attribute's name, or several), "
    "'learning_rate' (a schedule, to be logged), 'frequency' and 'accumulate'"
)


class Spec(NamedTuple):
    """One player as configured.

    Attributes:
        name: how its learning rate is called.
        optimizer: the optax transformation.
        owned: the attributes whose parameters it moves; None for all.
        learning_rate: a number or a schedule of the player's updates, for monitors; None where it says none.
        plan: when it plays.
    """

    name: str
    optimizer: optax.GradientTransformation
    owned: tuple[str, ...] | None = None
    learning_rate: float | Callable[[int], Any] | None = None
    plan: PlayerPlan = PlayerPlan()


def players_of(given: Any, attributes: Iterable[str], owner: str) -> tuple[Spec, ...]:
    """Return the players that `configure_optimizers` asks for.

    Args:
        given: what it returned.
        attributes: the names of the module's attributes that hold parameters.
        owner: the module's class name, for messages.

    Raises:
        ConfigurationError: it is none of the known forms, names an attribute without parameters, or leaves
            some to nobody.
    """
    attributes, given = tuple(attributes), _transformations(given)
    where = f"{owner}.configure_optimizers"
    if given is None:
        raise ConfigurationError(
            f"{where} returned None: a JAX module needs an optimizer to be fitted. Return {FORMS}."
        )
    if not attributes:
        raise ConfigurationError(
            f"{owner} holds no parameters: give it an attribute with an nnx module, `functrain_jax.from_linen(...)`, "
            "or a tree of arrays in self.params, set in __init__ or setup."
        )
    is_single = is_optimizer(given) or (isinstance(given, Mapping) and "optimizer" in given)
    if is_single:
        specs = (_spec(given, None, "", attributes, where),)
    elif isinstance(given, Mapping):
        specs = tuple(_spec(v, (name,), name, attributes, where) for name, v in given.items() if v is not None)
        attributes = tuple(name for name in attributes if not (name in given and given[name] is None))
    elif isinstance(given, list | tuple) and given:
        specs = tuple(_spec(v, None, "" if len(given) == 1 else str(i), attributes, where) for i, v in enumerate(given))
    else:
        raise ConfigurationError(f"{where} returned {type(given).__name__}; return {FORMS}.")
    _check_shares(specs, attributes, where)
    turns = in_turn([spec_frequency(v) for v in _values(given)], where)
    return tuple(
        spec._replace(plan=spec.plan._replace(turn=plan.turn)) for spec, plan in zip(specs, turns, strict=True)
    )


def _transformations(given: Any) -> Any:
    """Return the same with every `optax.MultiSteps`, which is none itself, as the transformation that it is for."""
    if isinstance(given, optax.MultiSteps):
        return given.gradient_transformation()
    if isinstance(given, Mapping):
        return {key: _transformations(value) for key, value in given.items()}
    return [_transformations(value) for value in given] if type(given) in (list, tuple) else given


def is_optimizer(value: Any) -> bool:
    """Return whether it is an optax transformation."""
    return isinstance(value, optax.GradientTransformation)


def spec_frequency(value: Any) -> int | None:
    """Return how many batches in a row it plays when its turn comes; None for all."""
    return value.get("frequency") if isinstance(value, Mapping) else None


def _values(given: Any) -> list[Any]:
    is_single = is_optimizer(given) or (isinstance(given, Mapping) and "optimizer" in given)
    if is_single:
        return [given]
    return [v for v in (given.values() if isinstance(given, Mapping) else given) if v is not None]


def _spec(value: Any, owned: tuple[str, ...] | None, name: str, attributes: tuple[str, ...], where: str) -> Spec:
    if is_optimizer(value):
        value = {"optimizer": value}
    if not isinstance(value, Mapping) or not is_optimizer(value.get("optimizer")):
        kind = type(value.get("optimizer") if isinstance(value, Mapping) else value).__name__
        hint = " (give the optax transformation itself, not an nnx.Optimizer)" if kind == "Optimizer" else ""
        raise ConfigurationError(f"{where}: {kind} is no optax transformation{hint}; return {FORMS}.")
    check_keys(value, KEYS, where)
    params = value.get("params")
    if params is not None:
        owned = (params,) if isinstance(params, str) else tuple(params)
    for attribute in owned or ():
        if attribute not in attributes:
            known = ", ".join(f"self.{a}" for a in attributes)
            raise ConfigurationError(
                f"{where}: self.{attribute} holds no parameters; those that do are "
                f"{known}.{nearest(attribute, attributes)}"
            )
    window = value.get("accumulate")
    name = "-".join(owned) if owned else name
    return Spec(name, value["optimizer"], owned, value.get("learning_rate"), PlayerPlan(window))


def _check_shares(specs: tuple[Spec, ...], attributes: tuple[str, ...], where: str) -> None:
    if len(specs) > 1 and any(spec.owned is None for spec in specs):
        raise ConfigurationError(
            f"{where}: with several optimizers each needs to say what it moves: give 'params', an attribute's name or "
            "several."
        )
    if len(specs) == 1 and specs[0].owned is None:
        return
    taken = [name for spec in specs for name in spec.owned or ()]
    left = [name for name in attributes if name not in taken]
    if left:
        raise ConfigurationError(
            f"{where}: no optimizer moves the parameters of self.{left[0]}; add it to one, "
            f"or say {{{left[0]!r}: None}} in a dict of optimizers by attribute, to leave them as they are."
        )
