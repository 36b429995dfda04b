"""hparams.py: which arguments are kept, and how they look."""

from __future__ import annotations

import argparse
import copy
import dataclasses
import pickle

import pytest

from functrain.trainer.hparams import HyperParameters, HyperparametersMixin


class Base(HyperparametersMixin):
    """Stands for a framework's base class: refuses ordinary attributes before its `__init__` has run."""

    def __init__(self) -> None:
        object.__setattr__(self, "ready", True)

    def __setattr__(self, name, value):
        assert "ready" in self.__dict__ or isinstance(getattr(type(self), name, None), property)
        object.__setattr__(self, name, value)


# --- HyperParameters


def test_attributes_and_items_are_one():
    hparams = HyperParameters(lr=0.1)
    hparams.width = 3
    hparams["depth"] = 2
    assert (hparams.lr, hparams["width"], hparams.depth) == (0.1, 3, 2)
    del hparams.lr
    assert hparams == {"width": 3, "depth": 2}
    with pytest.raises(AttributeError, match=r"no hyperparameter 'lr'; there are 'width', 'depth'"):
        del hparams.lr


def test_an_unknown_name_has_the_nearest_one():
    with pytest.raises(AttributeError, match=r"'learning_rat'.*Did you mean 'learning_rate'"):
        _ = HyperParameters(learning_rate=1).learning_rat
    assert getattr(HyperParameters(), "lr", None) is None
    with pytest.raises(AttributeError, match="there are none"):
        _ = HyperParameters().lr


def test_copies_and_pickles_stay_hyperparameters():
    hparams = HyperParameters(a=[1])
    for other in (copy.copy(hparams), copy.deepcopy(hparams), pickle.loads(pickle.dumps(hparams))):
        assert type(other) is HyperParameters
        assert other == hparams
    assert copy.deepcopy(hparams).a is not hparams.a


def test_the_documents_examples():
    class ManuallyArgsModel(Base):
        def __init__(self, arg1, arg2, arg3):
            super().__init__()
            self.save_hyperparameters("arg1", "arg3")

    class AutomaticArgsModel(Base):
        def __init__(self, arg1, arg2, arg3):
            super().__init__()
            self.save_hyperparameters()

    class IgnoringArgsModel(Base):
        def __init__(self, arg1, arg2, arg3):
            super().__init__()
            self.save_hyperparameters(ignore="arg2")

    assert repr(ManuallyArgsModel(1, "abc", 3.14).hparams) == '"arg1": 1\n"arg3": 3.14'
    assert repr(AutomaticArgsModel(1, "abc", 3.14).hparams) == '"arg1": 1\n"arg2": abc\n"arg3": 3.14'
    assert repr(IgnoringArgsModel(1, "abc", 3.14).hparams) == '"arg1": 1\n"arg3": 3.14'


# --- which arguments


def test_before_the_base_class_is_set_up():
    class Model(Base):
        def __init__(self, learning_rate):
            self.save_hyperparameters()
            super().__init__()

    assert Model(0.5).hparams.learning_rate == 0.5


def test_defaults_keyword_only_and_collected_keywords_but_no_star_args():
    class Model(Base):
        def __init__(self, a, /, b, *rest, c=3, **others):
            self.save_hyperparameters()

    assert Model(1, 2, 9, 9, d=4).hparams == {"a": 1, "b": 2, "c": 3, "d": 4}


def test_names_reach_into_collected_keywords():
    class Model(Base):
        def __init__(self, a, **others):
            self.save_hyperparameters("a", "d")

    assert Model(1, d=4, e=5).hparams == {"a": 1, "d": 4}


def test_a_self_of_another_name_that_a_closure_holds():
    class Model(Base):
        def __init__(this, a):
            this.save_hyperparameters()
            this.get = lambda: (this, a) if "ready" in this.__dict__ else None

        def __setattr__(self, name, value):
            object.__setattr__(self, name, value)

    assert Model(5).hparams == {"a": 5}


@pytest.mark.parametrize("ignore", [("model", "b"), ["model", "b"], {"model", "b", "never there"}])
def test_ignored_names(ignore):
    class Model(Base):
        def __init__(self, model, a, **others):
            self.save_hyperparameters(ignore=ignore)

    assert Model(object(), 1, b=2, c=3).hparams == {"a": 1, "c": 3}


def test_through_super_init_from_the_parent():
    class Parent(Base):
        def __init__(self, width, depth=2, **others):
            self.save_hyperparameters()

    class Child(Parent):
        def __init__(self, width, act="relu", **others):
            local = width * 10
            super().__init__(local, depth=7, **others)

    got = Child(3, extra=1).hparams
    assert got == {"width": 3, "act": "relu", "extra": 1, "depth": 7}, "the most derived class decides"
    assert list(got) == ["width", "act", "extra", "depth"]


def test_both_save_and_the_second_adds():
    class Parent(Base):
        def __init__(self, a, b=2):
            super().__init__()
            self.save_hyperparameters()

    class Child(Parent):
        def __init__(self, c, **others):
            super().__init__(a=1)
            self.save_hyperparameters("c")

    assert Child(3).hparams == {"c": 3, "a": 1, "b": 2}


def test_another_object_made_inside_init_is_not_mixed_in():
    class Inner(Base):
        def __init__(self, x):
            self.save_hyperparameters()

    class Outer(Base):
        def __init__(self, y):
            super().__init__()
            self.inner = Inner(y + 1)
            self.save_hyperparameters()

    outer = Outer(1)
    assert outer.hparams == {"y": 1}
    assert outer.inner.hparams == {"x": 2}


def test_through_a_decorated_init_and_a_helper():
    def decorated(init):
        def wrapper(self, *args, **kwargs):
            return init(self, *args, **kwargs)

        return wrapper

    class Model(Base):
        @decorated
        def __init__(self, a, b=1):
            self.set_up()

        def set_up(self):
            self.save_hyperparameters()

    assert Model(4).hparams == {"a": 4, "b": 1}


def test_a_module_that_is_a_dataclass():
    @dataclasses.dataclass
    class Model(HyperparametersMixin):
        width: int
        act: str = "relu"

        def __post_init__(self):
            self.save_hyperparameters()

    assert Model(3).hparams == {"width": 3, "act": "relu"}


def test_an_explicit_frame():
    import inspect

    class Model(Base):
        def __init__(self, a):
            frame = inspect.currentframe()
            [self.save_hyperparameters(frame=frame) for _ in range(1)]

    assert Model(2).hparams == {"a": 2}


# --- one object


@dataclasses.dataclass
class Config:
    lr: float = 0.1
    widths: list[int] = dataclasses.field(default_factory=lambda: [8, 8])


@pytest.mark.parametrize("given", [{"lr": 0.1, "widths": [8, 8]}, argparse.Namespace(lr=0.1, widths=[8, 8]), Config()])
def test_one_object_that_holds_them_all(given):
    class Model(Base):
        def __init__(self, config, other=None):
            self.save_hyperparameters(config, ignore="other")

    model = Model(given)
    assert model.hparams == {"lr": 0.1, "widths": [8, 8]}
    assert model._hparams_name == "config"
    again = Model(model.hparams)
    assert again.hparams == model.hparams


def test_an_object_that_is_no_argument_and_outside_of_init():
    class Model(Base):
        def __init__(self, a):
            super().__init__()
            self.save_hyperparameters({"lr": a, "skip": 1}, ignore=["skip"])

    model = Model(3)
    assert model.hparams == {"lr": 3}
    assert model._hparams_name is None
    model.save_hyperparameters({"more": 1})
    assert model.hparams == {"lr": 3, "more": 1}


def test_assigning_hparams_is_the_older_way():
    class Model(Base):
        def __init__(self, hparams):
            super().__init__()
            self.hparams = hparams

    model = Model(argparse.Namespace(lr=1))
    assert model.hparams.lr == 1
    assert model._hparams_name == "hparams"
    model.hparams = {"width": 2}
    assert model.hparams == {"width": 2}
    with pytest.raises(TypeError, match="hparams is a int"):
        model.hparams = 3
    assert model.hparams == {"width": 2}


# --- what is kept


def test_initial_values_share_no_container_but_keep_modules_as_they_are():
    class Heavy:
        def __deepcopy__(self, memo):
            raise AssertionError("a network must not be copied")

    heavy = Heavy()

    class Model(Base):
        def __init__(self, widths, options, net, space, pair=(1, [2])):
            self.save_hyperparameters()

    model = Model([1], {"a": [1]}, heavy, argparse.Namespace(x=[1]))
    model.hparams.widths.append(2)
    model.hparams.options["a"].append(2)
    model.hparams.space.x.append(2)
    model.hparams.pair[1].append(2)
    model.hparams.lr = 5
    initial = model.hparams_initial
    assert initial == {
        "widths": [1],
        "options": {"a": [1]},
        "net": heavy,
        "space": argparse.Namespace(x=[1]),
        "pair": (1, [2]),
    }
    initial.widths.append(3)
    assert model.hparams_initial.widths == [1]
    assert type(initial) is HyperParameters


def test_without_saving_there_are_none():
    model = Base()
    assert model.hparams == {}
    assert model.hparams is model.hparams
    assert model.hparams_initial == {}
    assert model._log_hyperparams is False


@pytest.mark.parametrize("wanted", [True, False])
def test_whether_loggers_get_them(wanted):
    class Model(Base):
        def __init__(self, a):
            self.save_hyperparameters(logger=wanted)

    assert Model(1)._log_hyperparams is wanted


# --- errors


@pytest.mark.parametrize(
    ("args", "error", "message"),
    [
        (
            ("learning_rat",),
            ValueError,
            r"'learning_rat' is no argument of Model.__init__.*mean 'learning_rate'",
        ),
        (("learning_rate", {"a": 1}), TypeError, "names together with a dict"),
        (({"a": 1}, {"b": 1}), TypeError, r"several objects \(dict, dict\)"),
        ((3,), TypeError, "is a int; give a dictionary"),
        ((Config,), TypeError, "is a type"),
        (({1: 2},), TypeError, "the key 1, a int"),
    ],
)
def test_bad_arguments_are_named(args, error, message):
    class Model(Base):
        def __init__(self, learning_rate):
            self.save_hyperparameters(*args)

    with pytest.raises(error, match=message):
        Model(1)


@pytest.mark.parametrize("args", [(), ("a",)])
def test_outside_of_init(args):
    model = Base()
    with pytest.raises(RuntimeError, match=r"Base.save_hyperparameters was not called from __init__"):
        model.save_hyperparameters(*args)
