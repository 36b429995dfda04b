"""What a checkpoint of pytorch_lightning calls its parts: where its run stood, and what it holds beside that. Pure."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from functrain.trainer.errors import CheckpointError, kind
from functrain.trainer.loop_state import count_of
from functrain.trainer.narrow import is_dict, is_list, is_mapping
from functrain_torch import inert

VERSION = "pytorch-lightning_version"
"""The key of the version that wrote a checkpoint; ours have it too, beside 'functrain'."""

WRITTEN_AS = "2.6.0"
"""The version whose names ours have."""

SCALES = ("MixedPrecision", "MixedPrecisionPlugin", "NativeMixedPrecisionPlugin", "native_amp_scaling_state")
"""Where the state of torch's GradScaler stands, newest first."""

AUTOMATIC = "epoch_loop.automatic_optimization.optim_progress"
BY_HAND = "epoch_loop.manual_optimization.optim_step_progress"
NEEDED = ("state_dict", "optimizer_states", "loops")


def is_lightning(checkpoint: Any) -> bool:
    """Did pytorch_lightning write it, and no other?"""
    return is_dict(checkpoint) and VERSION in checkpoint and "functrain" not in checkpoint


def without_objects(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Return a checkpoint without objects that were not read; one warning names them.

    Raises:
        CheckpointError: weights, states of optimizers or the position hold some.
    """
    unread: inert.Places = []
    kept: dict[str, Any] = {}
    for key, value in checkpoint.items():
        before = len(unread)
        found = inert.plain(value, str(key), unread)
        if key in NEEDED and len(unread) > before:
            raise CheckpointError(
                f"holds objects where tensors and plain values are needed: {', '.join(unread[before:][:5])}. Objects "
                "are not read, since they could run code: where you trust the file, load it by torch.load(path, "
                "weights_only=False), take them out and save it again."
            )
        if isinstance(key, str) and (found is not None or value is None):
            kept[key] = value if key in NEEDED else found
    if unread:
        more = f" and {len(unread) - 8} more" if len(unread) > 8 else ""
        warnings.warn(
            "the checkpoint holds objects that are not read, since they could run code, and that are left out: "
            f"{', '.join(unread[:8])}{more}. Give hyperparameters that are missing to load_from_checkpoint as keyword "
            "arguments.",
            UserWarning,
            stacklevel=2,
        )
    return kept


class Place(NamedTuple):
    """Where a run of pytorch_lightning stood when it wrote a checkpoint.

    Attributes:
        epoch: the epoch, from 0, that was under way or is the next.
        batch: how many of its batches were trained on.
        update: how many updates there were, a window each.
        seen: the batches of the epochs before; None where that is not told.
        validates: the batch's validation, where one is due, was still to come.
        ended: all of the last epoch's batches were trained on, and what follows the last of them was not done.
        told: the loops tell it; else only the epoch is known.
    """

    epoch: int
    batch: int
    update: int
    seen: int | None = None
    validates: bool = False
    ended: bool = False
    told: bool = True


def version(checkpoint: Mapping[str, Any]) -> tuple[int, int]:
    """Return the first two numbers of the version that wrote it."""
    numbers = re.match(r"(\d+)\.(\d+)", str(checkpoint[VERSION]))
    return (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)


def place(checkpoint: Mapping[str, Any], optimizers: int, window: Callable[[int], int], automatic: bool) -> Place:
    """Return where it stood.

    Args:
        optimizers: how many there are: the newer count the steps of all of them.
        window: returns the batches of an update in an epoch.
        automatic: optimization is not by hand.

    Raises:
        CheckpointError: it does not say, or something else than counts stands there.
    """
    fit = _part(_part(checkpoint, "loops"), "fit_loop")
    batches, epochs = _part(fit, "epoch_loop.batch_progress"), _part(_part(fit, "epoch_progress"), "current")
    tells = version(checkpoint) >= (1, 6) and bool(batches) and bool(epochs)
    if not tells:
        return Place(_count(checkpoint, "epoch"), 0, _count(checkpoint, "global_step"), told=False)
    now, total = _part(batches, "current"), _part(batches, "total")
    batch, last = _count(now, "processed"), bool(batches.get("is_last_batch"))
    started, processed = _count(epochs, "started"), _count(epochs, "processed")
    epoch, done, validates = processed, False, False
    if started > processed:
        done = last and batch > 0
        validates = _count(now, "completed") < batch
    elif batch and not last and processed:
        epoch = processed - 1  # a limit, or a stop, cut it short
    elif batch:
        batch = 0
    closed = started > processed and (done or batch % window(epoch) == 0)
    update = _updates(checkpoint, fit, optimizers, automatic, within=closed)
    seen = _count(total, "processed") - (0 if done else batch)
    if done:
        return Place(epoch + 1, 0, update, seen, validates, ended=True)
    return Place(epoch, batch, update, seen, validates and batch > 0)


def loader_state(checkpoint: Mapping[str, Any]) -> Any:
    """Return what the training loader said of itself; None where it said nothing, or where there were several."""
    states = _part(_part(_part(checkpoint, "loops"), "fit_loop"), "state_dict").get("combined_loader")
    return states[0] if is_list(states) and len(states) == 1 else None


def _updates(
    checkpoint: Mapping[str, Any], fit: Mapping[str, Any], optimizers: int, automatic: bool, within: bool
) -> int:
    """Return how many windows were closed. `within`: the batch under way has closed one that is not counted yet."""
    steps = _count(checkpoint, "global_step")
    stepped = _part(fit, "epoch_loop.state_dict").get("_batches_that_stepped")
    counted = count_of(stepped)
    return steps if counted is None or (automatic and optimizers < 2) else counted + within


def _part(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    part = values.get(key, {})
    if not is_mapping(part):
        raise CheckpointError(f"its {key!r} holds {kind(part)} where a dict is needed.")
    return part


def _count(values: Mapping[str, Any], key: str) -> int:
    found = count_of(values.get(key))
    if found is None:
        raise CheckpointError(f"its {key!r} is {values.get(key)!r} where a count is needed.")
    return found


def loops(place: Place, steps: int, automatic: bool, loader: Any = None) -> dict[str, Any]:
    """Return what pytorch_lightning would say of a place.

    Args:
        place: where the run stands; `ended` where what follows an epoch's last batch was done.
        steps: of all optimizers.
        loader: what the training loader says of itself; None for nothing.
    """
    begun = place.batch > 0
    epochs = {"ready": place.epoch + begun, "started": place.epoch + begun}
    epochs |= {"processed": place.epoch, "completed": place.epoch}
    now, before = place.batch, place.seen or 0
    done = now - (place.validates and begun)
    current = {**_counts(now), "completed": done}
    total = {key: before + count for key, count in current.items()}
    batches = {"current": current, "total": total, "is_last_batch": not begun and place.epoch > 0}
    stepped, none = _progress(steps, ("ready", "completed")), _progress(0, ("ready", "completed"))
    zeroed = _progress(steps if automatic else 0, ("ready", "started", "completed"))
    idle = {
        "current": _counts(0), "total": _counts(0), "is_last_batch": False,
    }  # fmt: skip
    fit: dict[str, Any] = {
        "state_dict": {} if loader is None else {"combined_loader": [loader]},
        "epoch_progress": {"current": epochs, "total": dict(epochs)},
        "epoch_loop.state_dict": {"_batches_that_stepped": place.update - (place.validates and begun)},
        "epoch_loop.batch_progress": batches,
        "epoch_loop.scheduler_progress": none,
        "epoch_loop.automatic_optimization.state_dict": {},
        AUTOMATIC: {"optimizer": {"step": stepped if automatic else none, "zero_grad": zeroed}},
        "epoch_loop.manual_optimization.state_dict": {},
        BY_HAND: none if automatic else stepped,
        "epoch_loop.val_loop.state_dict": {},
        "epoch_loop.val_loop.batch_progress": {**idle, "is_last_batch": not place.validates},
    }
    other = {"state_dict": {}, "batch_progress": idle}
    predict = {"state_dict": {}, "batch_progress": {"current": _counts(0), "total": _counts(0)}}
    return {"fit_loop": fit, "validate_loop": other, "test_loop": other, "predict_loop": predict}


def _counts(number: int) -> dict[str, int]:
    return dict.fromkeys(("ready", "started", "processed", "completed"), number)


def _progress(number: int, names: tuple[str, ...]) -> dict[str, dict[str, int]]:
    return {"current": dict.fromkeys(names, number), "total": dict.fromkeys(names, number)}
