"""What an engine owes: dispatches that count, stop and end; evaluations that move nothing; a state that is given back
in bits or refused whole."""

from itertools import repeat

import numpy as np
import pytest

from functrain import Callback
from functrain.trainer.errors import CheckpointError
from tests import inside
from tests.conformance.kits import KITS, Wish, batches, by_hand, close, data, on_every_adapter
from tests.oracle import bits

GAN = Wish(frequencies=(2, 1))
LENGTH = 7


class Begun(Callback):
    """Calls `check(run, module)` where a fit has begun and nothing is trained yet; the fit ends there."""

    def __init__(self, check):
        self.check, self.checked = check, False

    def on_train_start(self, trainer, pl_module):
        self.check(inside.parts(trainer), pl_module)
        self.checked, trainer.should_stop = True, True


class Wanting(Begun):
    """Wants what the training steps give, too."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        pass


def begun(kit, check, wish=Wish(), train=None, want=False, **flags):  # noqa: B008
    look = (Wanting if want else Begun)(check)
    train = batches(kit, LENGTH) if train is None else train
    kit.trainer(max_epochs=5, min_epochs=0, callbacks=[look], **flags).fit(kit.module(wish), train)
    assert look.checked


def now(kit, run, module):
    """The weights, as hooks see them."""
    run.publish()
    return kit.weights(module)


@on_every_adapter
@pytest.mark.parametrize("sizes", [(7,), (1,) * 7, (3, 4), (2, 2, 3)])
@pytest.mark.parametrize("window", [1, 3])
def test_train_advances_the_clock_by_what_it_trained(kit, sizes, window):
    """Batches and updates as the plan counts, in `run.clock` and in what it returns; the last window is shorter."""

    def check(run, module):
        drawn, at = iter(batches(kit, LENGTH)), 0
        for n in sizes:
            done = run.train(drawn, n)
            at += n
            updates = at // window + (at == LENGTH and LENGTH % window > 0)
            assert (done.batches, done.clock[:3], run.clock[:3]) == (n, (0, at, updates), (0, at, updates))
            assert not done.ended
        close(now(kit, run, module), by_hand(data(LENGTH), 1, window=window))

    begun(kit, check, accumulate_grad_batches=window)


@on_every_adapter
def test_train_says_where_the_batches_end(kit):
    def check(run, module):
        drawn = iter(batches(kit, 5))
        done = run.train(drawn, 3)
        assert (done.batches, done.ended) == (3, False)
        done = run.train(drawn, 4)
        assert (done.batches, done.ended, run.clock.batch) == (2, True, 5)
        done = run.train(drawn, 4)
        assert (done.batches, done.ended, run.clock.batch) == (0, True, 5)

    begun(kit, check)


@on_every_adapter
def test_train_goes_on_from_where_the_loop_put_the_clock(kit):
    def check(run, module):
        run.train(iter(batches(kit, LENGTH)), LENGTH)
        run.clock = run.clock.next_epoch()
        run.train(iter(batches(kit, LENGTH)), 2)
        assert run.clock[:3] == (1, 2, LENGTH + 2)

    begun(kit, check)


@on_every_adapter
def test_a_stop_is_honoured_within_a_dispatch_and_no_batch_is_lost(kit):
    """The loader never ends and a million batches were asked for: what was drawn is trained on, and no more drawn."""

    def check(run, module):
        drawn = []

        def endless():
            for batch in repeat(batches(kit, 1)[0]):
                drawn.append(batch)
                if len(drawn) == 3:
                    run.stop.request(True)
                yield batch

        done = run.train(endless(), 1_000_000)
        assert done.batches == len(drawn) == run.clock.batch
        assert 3 <= done.batches < 5000
        assert not done.ended

    begun(kit, check, train=Unsized(kit))


class Unsized:
    """A loader without a length."""

    def __init__(self, kit):
        self.kit = kit

    def __iter__(self):
        return iter(batches(self.kit, LENGTH))


@on_every_adapter
@pytest.mark.parametrize("wish", [Wish(), GAN], ids=["one optimizer", "two optimizers"])
def test_outputs_are_one_a_batch_where_they_are_wanted(kit, wish):
    def check(run, module):
        drawn = iter(batches(kit, LENGTH))
        for _ in range(3):
            (output,) = run.train(drawn, 1).outputs
            (only,) = output if wish.frequencies else (output,)
            assert np.isfinite(float(only["loss"]))

    begun(kit, check, wish, want=True)


@on_every_adapter
def test_outputs_are_empty_where_nobody_wants_them(kit):
    begun(kit, lambda run, module: check_empty(run.train(iter(batches(kit, 2)), 2)))


def check_empty(done):
    assert len(done.outputs) == 0


@on_every_adapter
def test_an_open_window_is_closed_once(kit):
    def check(run, module):
        run.train(iter(batches(kit, 4)), 4)
        assert run.clock[:3] == (0, 4, 1)
        assert run.close_window()
        assert run.clock[:3] == (0, 4, 2)
        close(now(kit, run, module), by_hand(data(4), 1, window=3))
        assert not run.close_window()
        assert run.clock[:3] == (0, 4, 2)

    begun(kit, check, train=Unsized(kit), accumulate_grad_batches=3)


@on_every_adapter
def test_calls_that_find_nothing_to_do_do_nothing(kit):
    """Twice, early, or at the end of nothing: a run calls them whether or not something was trained."""

    def check(run, module):
        before = bits(now(kit, run, module))
        assert not run.close_window()
        run.publish()
        run.close_epoch({})
        run.mode("validation", evaluating=True)
        run.mode("validation", evaluating=False)
        assert (bits(now(kit, run, module)), run.clock[:3]) == (before, (0, 0, 0))
        run.train(iter(batches(kit, LENGTH)), LENGTH)
        close(now(kit, run, module), by_hand(data(LENGTH), 1))
        run.finish()
        run.finish()

    begun(kit, check)


@on_every_adapter
@pytest.mark.parametrize("wants", [False, True])
def test_evaluate_counts_and_moves_nothing(kit, wants):
    def check(run, module):
        run.train(iter(batches(kit, 4)), 4)
        before, clock = now(kit, run, module), run.clock
        run.mode("validation", evaluating=True)
        drawn, counts, outputs = iter(batches(kit, 5, seed=1)), [], []
        for first in (0, 2, 4):
            n = 1 if wants else 2
            for start in range(first, first + 2, n):
                done = run.evaluate("validation", drawn, n, start, 0, wants)
                counts.append((done.batches, done.ended))
                outputs += done.outputs
        run.mode("validation", evaluating=False)
        assert counts == ([(1, False)] * 5 + [(0, True)] if wants else [(2, False), (2, False), (1, True)])
        assert (bits(now(kit, run, module)), run.clock) == (bits(before), clock)
        want = [((x @ before["w"] + before["b"] - y) ** 2).mean() for x, y in data(5, seed=1)] if wants else []
        np.testing.assert_allclose([float(output["loss"]) for output in outputs], want, rtol=1e-5)

    begun(kit, check)


@on_every_adapter
@pytest.mark.parametrize("at", [1, 3, 5])
@pytest.mark.parametrize("wish", [Wish(), GAN], ids=["one optimizer", "two optimizers"])
def test_a_state_that_is_given_back_goes_on_in_the_same_bits(kit, wish, at):
    """Weights, optimizers, open windows. It goes through the adapter's own bytes, which are no one's memory."""

    def check(run, module):
        checkpoints = run.checkpoints
        drawn = batches(kit, LENGTH)
        run.train(iter(drawn[:at]), at)
        saved, clock = checkpoints.unpack(checkpoints.pack(run.state_dict(weights_only=False))), run.clock
        there = bits(now(kit, run, module))
        run.train(iter(drawn[at:]), LENGTH - at)
        want = bits(now(kit, run, module))
        run.load_state_dict({**saved, "clock": clock._asdict()}, weights_only=False)
        run.clock = clock
        assert bits(now(kit, run, module)) == there != want
        run.train(iter(drawn[at:]), LENGTH - at)
        assert bits(now(kit, run, module)) == want

    begun(kit, check, wish, accumulate_grad_batches=1 if wish.frequencies else 2)


@on_every_adapter
def test_the_weights_alone_are_given_back_alone(kit):
    def check(run, module):
        checkpoints = run.checkpoints
        saved = checkpoints.unpack(checkpoints.pack(run.state_dict(weights_only=True)))
        run.train(iter(batches(kit, 3)), 3)
        run.load_state_dict(saved, weights_only=True)
        close(now(kit, run, module), Wish().start())
        with pytest.raises(CheckpointError, match="holds weights only"):
            run.load_state_dict(saved, weights_only=False)

    begun(kit, check)


def without(saved, name):
    return {key: value for key, value in saved.items() if key != name}


def weights_changed(change):
    return lambda saved, other: {**saved, "state_dict": change(dict(saved["state_dict"]))}


REFUSED = {
    "no weights": (lambda saved, other: without(saved, "state_dict"), r"state_dict|missing w"),
    "a weight is missing": (weights_changed(lambda w: without(w, first(w))), r"missing (w|b)"),
    "a weight too many": (weights_changed(lambda w: {**w, "extra": w[first(w)]}), "unexpected extra"),
    "of another shape": (lambda saved, other: {**saved, "state_dict": other["state_dict"]}, r"w(\.value)? \(3,\)"),
    "of another optimizer": (lambda saved, other: {**other, "state_dict": saved["state_dict"]}, "optimizer 0"),
    "of two optimizers": (lambda saved, other: {**saved, **doubled(saved)}, r"has 2 "),
}


def first(weights):
    return min(weights)


def doubled(saved):
    names = ("players", "optimizer_states", "parameter_names", "lr_schedulers")
    return {name: list(saved[name]) * 2 for name in names if name in saved}


@on_every_adapter
@pytest.mark.parametrize(("change", "named"), REFUSED.values(), ids=REFUSED.keys())
def test_a_state_that_does_not_fit_is_refused_by_name_before_anything_changes(kit, change, named):
    others = []

    def keep(run, module):
        run.train(iter(batches(kit, 2, wide=True)), 2)
        others.append(run.checkpoints.unpack(run.checkpoints.pack(run.state_dict(weights_only=False))))

    def check(run, module):
        drawn = batches(kit, LENGTH)
        run.train(iter(drawn[:3]), 3)
        saved = run.checkpoints.unpack(run.checkpoints.pack(run.state_dict(weights_only=False)))
        run.train(iter(drawn[3:5]), 2)
        before, clock = bits(now(kit, run, module)), run.clock
        with pytest.raises(CheckpointError, match=named):
            run.load_state_dict({**change(saved, others[0]), "clock": clock._asdict()}, weights_only=False)
        assert (bits(now(kit, run, module)), run.clock) == (before, clock)
        run.train(iter(drawn[5:]), 2)
        close(now(kit, run, module), by_hand(data(LENGTH), 1))

    begun(kit, keep, Wish(wide=True), train=batches(kit, LENGTH, wide=True))
    begun(kit, check)


def test_the_suite_knows_every_adapter():
    assert [kit.name for kit in KITS] == ["numpy", "torch", "jax"]
