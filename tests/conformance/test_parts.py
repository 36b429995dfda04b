"""What an adapter's other parts owe: files whole or not there, loaders that are continued, what can be looked at."""

import os

import numpy as np
import pytest

from functrain.trainer.errors import CheckpointError, ConfigurationError
from tests import inside
from tests.conformance.kits import RATE, Wish, batches, on_every_adapter

ID = "0123456789abcdef" * 2
FITTED = {}


def fitted(kit):
    """The parts that ran a fit of three batches, made once for all that only looks."""
    if kit.name not in FITTED:
        trainer, module = kit.trainer(max_epochs=1), kit.module(Wish(frequencies=(2, 1)))
        trainer.fit(module, batches(kit, 3))
        FITTED[kit.name] = inside.parts(trainer)
    return FITTED[kit.name]


def value(kit, number=1.0):
    """What a checkpoint holds: the framework's arrays, and plain values of every kind."""
    x, _ = kit.batch(np.full((2, 2), number, np.float32), np.zeros(2, np.float32))
    plain = {
        "none": None,
        "flag": True,
        "int": 3,
        "float": 0.1,
        "text": "é",
        "list": [1, [2.5, None]],
        "nested": {"": 1},
    }
    return {"functrain": {"run": ID, "fit": ID, "step": 7}, "x": x, "plain": plain}


# checkpoints


@on_every_adapter
def test_what_was_saved_is_loaded(kit, tmp_path):
    checkpoints, path = fitted(kit).checkpoints, str(tmp_path / f"a{fitted(kit).checkpoints.suffix}")
    checkpoints.save(path, value(kit)).wait()
    loaded = checkpoints.load(path)
    np.testing.assert_array_equal(np.asarray(loaded["x"]), np.full((2, 2), 1.0, np.float32))
    assert loaded["plain"] == value(kit)["plain"]


@on_every_adapter
def test_a_value_is_copied_before_save_returns(kit, tmp_path):
    """The run goes on and changes its arrays in place."""
    checkpoints, path = fitted(kit).checkpoints, str(tmp_path / "a.ckpt")
    given = {**value(kit), "mine": np.ones(100_000) if kit.name != "torch" else value(kit)["x"].repeat(1000, 50)}
    saving = checkpoints.save(path, given)
    given["mine"] *= 0
    given["plain"]["list"].append("later")
    saving.wait()
    assert saving.done()
    loaded = checkpoints.load(path)
    np.testing.assert_array_equal(np.asarray(loaded["mine"]), np.ones_like(loaded["mine"]))
    assert loaded["plain"] == value(kit)["plain"]


@on_every_adapter
def test_load_waits_for_what_is_being_written(kit, tmp_path):
    checkpoints, path = fitted(kit).checkpoints, str(tmp_path / "a.ckpt")
    checkpoints.save(path, value(kit, 5.0))
    assert float(np.asarray(checkpoints.load(path)["x"])[0, 0]) == 5.0


@on_every_adapter
def test_a_later_save_replaces_the_file_whole(kit, tmp_path):
    checkpoints, path = fitted(kit).checkpoints, str(tmp_path / "a.ckpt")
    checkpoints.save(path, value(kit, 1.0)).wait()
    checkpoints.save(path, value(kit, 2.0)).wait()
    assert float(np.asarray(checkpoints.load(path)["x"])[0, 0]) == 2.0
    assert os.listdir(tmp_path) == ["a.ckpt"]


@on_every_adapter
def test_a_write_that_fails_leaves_nothing_and_says_so(kit, tmp_path):
    """Its folder cannot be made, since a file has that name."""
    checkpoints, blocked = fitted(kit).checkpoints, tmp_path / "file"
    blocked.write_text("mine")

    def save():
        checkpoints.save(str(blocked / "a.ckpt"), value(kit)).wait()

    with pytest.raises(OSError, match="file"):
        save()
    assert os.listdir(tmp_path) == ["file"]
    assert blocked.read_text() == "mine"


@on_every_adapter
def test_what_cannot_be_stored_is_an_error_at_once_that_says_where(kit, tmp_path):
    checkpoints, path = fitted(kit).checkpoints, tmp_path / "a.ckpt"
    with pytest.raises(ConfigurationError, match="mine"):
        checkpoints.save(str(path), {**value(kit), "mine": object()})
    assert not path.exists()


@on_every_adapter
def test_a_checkpoint_says_who_wrote_it(kit, tmp_path):
    checkpoints, path = fitted(kit).checkpoints, str(tmp_path / "a.ckpt")
    checkpoints.save(path, value(kit)).wait()
    mark = checkpoints.mark(path)
    assert (mark.run, mark.fit, mark.step) == (ID, ID, 7)
    assert checkpoints.mark(str(tmp_path / "missing.ckpt")) is None
    os.symlink(path, tmp_path / "link.ckpt")
    assert checkpoints.mark(str(tmp_path / "link.ckpt")) is None


@on_every_adapter
@pytest.mark.parametrize("content", [None, b"", b"no checkpoint", b'{"a": 1}\n' * 50])
def test_what_is_no_checkpoint_is_an_error_that_names_the_file(kit, content, tmp_path):
    path = tmp_path / "odd.ckpt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"odd\.ckpt"):
        fitted(kit).checkpoints.load(str(path))


@on_every_adapter
def test_a_file_that_lost_its_end_is_an_error_that_names_it(kit, tmp_path):
    checkpoints, path = fitted(kit).checkpoints, tmp_path / "short.ckpt"
    checkpoints.save(str(path), value(kit)).wait()
    largest = max(
        [path] if path.is_file() else (p for p in path.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size
    )
    largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])
    with pytest.raises(CheckpointError, match=r"short\.ckpt"):
        checkpoints.load(str(path))


@on_every_adapter
def test_the_bytes_for_another_process_are_the_same_for_the_same_value(kit):
    checkpoints = fitted(kit).checkpoints
    assert checkpoints.pack(value(kit)) == checkpoints.pack(value(kit))
    np.testing.assert_array_equal(np.asarray(checkpoints.unpack(checkpoints.pack(value(kit)))["x"]), np.ones((2, 2)))


# loaders


@on_every_adapter
def test_skip_says_so_where_batches_must_be_read(kit):
    def drawn():
        yield from batches(kit, 3)

    assert fitted(kit).loader_tools.skip(drawn(), 1) is None


@on_every_adapter
def test_a_loader_s_own_generator_is_put_back(kit):
    class Shuffling:
        def __init__(self):
            self.generator = np.random.default_rng(0)

        def __iter__(self):
            return iter(self.generator.permutation(4))

    loader, tools = Shuffling(), fitted(kit).loader_tools
    state = tools.loader_rng(loader)
    first = list(loader)
    assert list(loader) != first
    tools.set_loader_rng(loader, state)
    assert list(loader) == first
    assert tools.loader_rng(batches(kit, 2)) is None


@on_every_adapter
def test_a_list_is_in_a_fixed_order_already(kit):
    loader, tools = batches(kit, 3), fitted(kit).loader_tools
    assert tools.unshuffled(loader) is loader
    assert not tools.shuffles(loader)


# what can be looked at


@on_every_adapter
def test_batch_size_is_the_length_of_the_first_array(kit):
    size = fitted(kit).inspector.batch_size
    x, y = kit.batch(np.zeros((3, 2), np.float32), np.zeros(3, np.float32))
    assert [size(batch) for batch in (x, (x, y), [x, y], {"x": x, "y": y})] == [3] * 4
    assert size("no array") is None


@on_every_adapter
def test_rates_and_momenta_go_by_the_same_names(kit):
    """A monitor logs them under these; two optimizers of a kind are told apart. An adapter may not know momenta."""
    inspector = fitted(kit).inspector
    rates, momenta = inspector.rates(), inspector.momenta()
    assert list(rates.values()) == pytest.approx([RATE, RATE])
    assert len(rates) == 2
    assert momenta is None or list(momenta) == [f"{name}-momentum" for name in rates]


@on_every_adapter
def test_a_scalar_reads_as_the_number_that_it_is(kit):
    scalar = fitted(kit).inspector.scalar
    for given in (1.5, np.float32(1.5), np.array(1.5, np.float32)):
        assert float(scalar(given)) == 1.5


@on_every_adapter
def test_the_summary_counts_all_parameters(kit):
    rows = fitted(kit).inspector.summary(-1)
    assert [sum(row[i] for row in rows) for i in (2, 3, 4)] == [3, 3, 12]
    assert all(isinstance(name, str) and isinstance(kind, str) for name, kind, *_ in rows)


@on_every_adapter
def test_a_run_that_learned_something_is_not_idle(kit):
    assert fitted(kit).inspector.idle() is None


@on_every_adapter
def test_a_cpu_tells_nothing_of_its_memory(kit):
    assert fitted(kit).inspector.device_stats() == {}
