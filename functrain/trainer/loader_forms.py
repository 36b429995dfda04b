"""What a user may hand in as loaders: one, several in lists and dicts, or batches; and what is no loader at all."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from functrain.trainer.errors import ConfigurationError, kind
from functrain.trainer.narrow import class_of, is_list, is_mapping, is_sequence, is_tuple


def length_of(loader: Any) -> int | None:
    """Return a loader's number of batches; None where it has no length."""
    try:
        return len(loader)
    except (TypeError, NotImplementedError):
        return None


def as_loaders(loaders: Any, what: str = "dataloaders") -> list[Any]:
    """Loaders as a list, by the rule of all stages: a list of batches is one loader, a list of loaders is several.

    Args:
        loaders: a loader, a list of batches (arrays, dicts, tuples or lists of arrays), or a list or tuple of loaders,
            each of which may be a list of batches. Lists of arrays alone are batches in a list (as those of
            `list(DataLoader(...))` are), and loaders in a tuple.
        what: the argument's name, for messages.

    Raises:
        ConfigurationError: batches beside loaders.
    """
    if loaders is None:
        return []
    if not is_sequence(loaders) or not loaders:
        return list(loaders) if is_sequence(loaders) else [loaders]
    kinds = {_kind(item) for item in loaders}
    if kinds == {"loader", "batch"} or len(kinds) == 3:
        raise ConfigurationError(
            f"{what}: a {type(loaders).__name__} with batches beside loaders; give a list of batches, or a list of "
            "loaders."
        )
    batches = "batch" in kinds or (kinds == {"either"} and is_list(loaders))
    return [loaders] if batches else list(loaders)


def as_loader(loader: Any, what: str) -> Any:
    """Return the one loader that there is, by the same rule.

    Raises:
        ConfigurationError: there are several.
    """
    found = as_loaders(loader, what)
    if len(found) > 1:
        raise ConfigurationError(
            f"{what}: a {type(loader).__name__} of {len(found)} loaders was given where one is needed; give a "
            "CombinedLoader of them, or join their data sets into one loader. A list of batches is one loader."
        )
    return found[0] if found else loader


def _kind(item: Any) -> str:
    """Return whether it is a 'loader', a 'batch', or 'either', as a list of arrays is."""
    if is_list(item):
        kinds = {_kind(part) for part in item}
        plain = any(not isinstance(part, Mapping | list | tuple) for part in item)
        if kinds == {"batch"}:
            return "either" if plain else "loader"
        # An image beside a list of what is seen in it.
        return "batch" if "batch" in kinds and plain else "loader"
    if is_tuple(item) or is_mapping(item):
        kinds = {_kind(part) for part in (item.values() if is_mapping(item) else item)}
        return "loader" if "loader" in kinds and "batch" not in kinds else "batch"
    values = isinstance(item, str | bytes) or hasattr(item, "shape") or not hasattr(item, "__iter__")
    return "batch" if values and not isinstance(item, type) else "loader"


# several loaders in a form of lists and dicts


def is_several(value: Any, what: str) -> bool:
    """Return whether it is a list, a tuple or a dict of loaders."""
    if is_mapping(value):
        kinds = {_kind(item) for item in value.values()}
        return bool(value) and ("loader" in kinds or "batch" not in kinds)
    return is_sequence(value) and bool(value) and as_loaders(value, what) != [value]


def loaders_in(form: Any, what: str = "", outermost: bool = True) -> dict[str, Any]:
    """Return the loaders of lists and dicts within one another, in order, each by the place where it is: "['a'][0]".

    Args:
        outermost: the form itself is opened, whatever is in it.
    """
    opened = is_mapping(form) or is_sequence(form) if outermost else is_several(form, what)
    if not opened:
        return {what: form}
    items = form.items() if is_mapping(form) else enumerate(form)
    return {
        place: loader for key, item in items for place, loader in loaders_in(item, f"{what}[{key!r}]", False).items()
    }


def like(form: Any, values: Iterator[Any], outermost: bool = True) -> Any:
    """Return the form with the next of these values in place of each loader."""
    opened = is_mapping(form) or is_sequence(form) if outermost else is_several(form, "")
    if not opened:
        return next(values)
    if is_mapping(form):
        found = {key: like(item, values, False) for key, item in form.items()}
        return OrderedDict(found) if class_of(form) is OrderedDict else found
    items = [like(item, values, False) for item in form]
    make: Callable[..., Any] = class_of(form)
    return make(*items) if hasattr(form, "_fields") else make(items)


def checked(loader: Any, what: str, say: Callable[[str], object] | None = None) -> Any:
    """Return the loader, if batches can be drawn from it.

    Args:
        what: the argument's name, for messages.
        say: told where it has length 0, which then is no error.

    Raises:
        ConfigurationError: it is no loader, several in a container, or has length 0.
    """
    name = type(loader).__name__
    if isinstance(loader, type) or not hasattr(loader, "__iter__"):
        found = kind(loader) if isinstance(loader, type) else f"{kind(loader)} ({repr(loader)[:60]})"
        hint = ": wrap the data set in a DataLoader" if hasattr(loader, "__getitem__") else ""
        raise ConfigurationError(f"{what}: {found} cannot be iterated over; give a loader of batches{hint}.")
    if isinstance(loader, str | bytes | Mapping):
        raise ConfigurationError(
            f"{what}: a {name} is no loader of batches; give a DataLoader, a list of batches, or a dict of loaders."
        )
    if hasattr(loader, "shape"):
        raise ConfigurationError(f"{what}: a {name} of shape {tuple(loader.shape)} is no loader; put it into one.")
    if is_tuple(loader) and all(hasattr(item, "shape") for item in loader):
        raise ConfigurationError(
            f"{what}: a tuple of {len(loader)} arrays is a batch, not a loader; put it into a list."
        )
    if is_sequence(loader) and any(hasattr(item, "batch_size") for item in loader):
        raise ConfigurationError(
            f"{what}: a {name} of {len(loader)} loaders was given where one is needed; join their data sets into one "
            "loader (torch.utils.data.ConcatDataset, say)."
        )
    if length_of(loader) == 0:
        says = f"{what}: the loader has length 0. Is the data set empty, or smaller than one batch with drop_last=True?"
        if say is None:
            raise ConfigurationError(says)
        say(f"{says} Nothing of it is evaluated.")
    return loader
