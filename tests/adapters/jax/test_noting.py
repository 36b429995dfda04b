"""What a step reads of its module is noted without a trace on any class, and on the module only while it is traced."""

import copy
from abc import ABC, abstractmethod
from typing import Generic, TypeVar

import jax.numpy as jnp
import optax
import pytest

import functrain_jax as ft
from functrain.trainer.module import ModuleBase
from tests.adapters.jax.common import Batches, trainer

T = TypeVar("T")
SUBCLASSES: list[str] = []


class Base(ft.Module, ABC):
    slope = 1.0

    def __init__(self):
        self.params = {"w": jnp.zeros(())}

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        SUBCLASSES.append(cls.__name__)

    @abstractmethod
    def factor(self): ...

    def loss(self):
        return self.slope * self.params["w"]

    def configure_optimizers(self):
        return optax.sgd(1.0)


class Told(Base):
    def factor(self):
        return 2.0

    def loss(self):
        return self.factor() * super().loss()

    def training_step(self, batch, batch_idx):
        self.look()
        return self.loss()

    def look(self):
        pass


def fitted(look):
    """Fit a module whose step looks at itself while it is traced."""
    module, looks = Told(), []
    module.look = lambda: looks.append(look(module))
    trainer(max_epochs=1).fit(module, Batches(size=48))
    assert looks
    assert float(module.params["w"]) == -4.0
    return looks


def test_no_class_is_changed_while_a_step_is_traced():
    classes = {*Told.__mro__, ModuleBase}
    before = {cls: dict(vars(cls)) for cls in classes}
    registered = list(SUBCLASSES)
    during = fitted(lambda module: {cls: dict(vars(cls)) for cls in classes})
    changed = [(cls, name) for look in during for cls in classes for name in _differing(before[cls], look[cls])]
    assert not changed
    assert registered == SUBCLASSES, "a registry of subclasses hears of none"


def _differing(before, now):
    # What ABCMeta caches of isinstance is its own.
    names = {name for name in before.keys() | now.keys() if not name.startswith("_abc_")}
    return [name for name in names if before.get(name) is not now.get(name)]


def test_a_step_that_is_traced_is_of_the_module_it_was_written_for():
    def look(module):
        assert isinstance(module, Told | Base)
        assert isinstance(module, ABC)
        assert module.__class__ is Told
        assert type(module).__name__ == "Told"
        assert issubclass(type(module), Told)
        return copy.copy(module), module

    for again, module in fitted(look):
        assert type(again) is Told
        assert type(module) is Told


def test_a_module_is_of_its_class_again_after_a_step_that_failed():
    module = Told()
    module.look = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        trainer(max_epochs=1).fit(module, Batches(size=48))
    assert type(module) is Told


def test_classes_with_slots_and_generic_ones_are_read_as_others_are():
    class Slotted(Told):
        __slots__ = ("cached",)

    class Typed(Generic[T], Told):
        pass

    class Named(Told):
        """Its subclasses must say more than the name."""

        def __init_subclass__(cls, *, kind):
            super().__init_subclass__()

    for cls in (Slotted, Typed, Named):
        module = cls()
        trainer(max_epochs=1).fit(module, Batches(size=48))
        module.slope = 2.0
        trainer(max_epochs=1).fit(module, Batches(size=48))
        assert float(module.params["w"]) == -4.0 - 8.0
