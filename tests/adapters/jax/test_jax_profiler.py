"""JAXProfiler: the trace that it writes is one that can be read, with the spans and the programs of the dispatches."""

from __future__ import annotations

import copy
import gzip
import json
import os
import pickle
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import functrain_jax as ft
from functrain.loggers import CSVLogger
from functrain_jax.profilers import JAXProfiler
from tests.adapters.jax.common import Batches, Plain

QUIET = {"logger": False, "checkpoint_callback": False, "progress_bar_refresh_rate": 0, "weights_summary": None,
         "num_sanity_val_steps": 0, "max_epochs": 1}  # fmt: skip


def spans(directory: Path) -> Counter[str]:
    """The complete spans of the trace for Perfetto, by name."""
    (path,) = directory.glob("**/perfetto_trace.json.gz")
    with gzip.open(path, "rt") as file:
        events = json.load(file)["traceEvents"]
    return Counter(event["name"] for event in events if event.get("ph") == "X")


class EachBatch(Plain):
    """Brings the loop to single batches, so that each is a dispatch."""

    fails = False

    def on_train_batch_end(self):
        if self.fails and self.current_epoch == 0 and self.global_step == 3:
            raise ArithmeticError("fails")


def test_the_first_dispatches_of_a_fit(tmp_path, capsys):
    ft.Trainer(**QUIET, profiler=JAXProfiler(tmp_path)).fit(EachBatch(), Batches())
    assert [path.name for path in tmp_path.iterdir()] == ["fit-trace"]
    found = spans(tmp_path / "fit-trace")
    assert found["training_step"] == found["run_training_batches"] == 5
    assert found["get_train_batch"] == 5
    assert [name for name in found if "PjitFunction" in name or "ExecuteReplicated" in name]
    assert list((tmp_path / "fit-trace").glob("**/*.xplane.pb"))
    assert capsys.readouterr().out == f"FIT Profiler Report: {tmp_path / 'fit-trace'}\n"


def test_a_dispatch_of_many_batches(tmp_path):
    ft.Trainer(**QUIET, profiler=JAXProfiler(tmp_path)).fit(Plain(), Batches())
    found = spans(tmp_path / "fit-trace")
    assert 1 <= found["training_step"] < found["get_train_batch"] == 12


@pytest.mark.parametrize("word", ["jax", "xla"])
def test_the_words_write_beside_the_logs(word, tmp_path):
    logger = CSVLogger(tmp_path)
    ft.Trainer(**{**QUIET, "logger": logger, "log_every_n_steps": 5}, profiler=word).fit(Plain(), Batches())
    assert spans(Path(logger.log_dir) / "fit-trace")["training_step"]


def test_evaluations(tmp_path):
    trainer, module = ft.Trainer(**QUIET, profiler=JAXProfiler(tmp_path)), Plain()
    trainer.predict(module, [x for x, _ in Batches()])
    assert spans(tmp_path / "predict-trace")["predict_step"] == 5


def test_two_fits_in_a_row_and_one_that_fails(tmp_path):
    trainer, module = ft.Trainer(**QUIET, profiler=JAXProfiler(tmp_path, "mine", dispatches=100)), EachBatch()
    module.fails = True
    with pytest.raises(ArithmeticError, match="fails"):
        trainer.fit(module, Batches())
    module.fails = False
    trainer.fit(module, Batches())
    assert spans(tmp_path / "fit-mine")["training_step"] == 3
    assert spans(tmp_path / "fit-mine-2")["training_step"] == 12


def test_a_url_cannot_be_written_to():
    with pytest.raises(ft.ConfigurationError, match=r"JAXProfiler: its trace would go to 'memory://x/fit-trace'"):
        ft.Trainer(**QUIET, profiler=JAXProfiler("memory://x")).fit(Plain(), Batches())


@pytest.mark.parametrize("value", [0, -1, 1.5, True, None])
def test_impossible_numbers_of_dispatches(value):
    with pytest.raises(ft.ConfigurationError, match=r"JAXProfiler\(dispatches=.*an int of at least 1"):
        JAXProfiler(dispatches=value)


@pytest.mark.parametrize("through", [copy.deepcopy, lambda profiler: pickle.loads(pickle.dumps(profiler))])
def test_a_copy_begins_anew(through, tmp_path):
    made = through(JAXProfiler(tmp_path, dispatches=2))
    ft.Trainer(**QUIET, profiler=made).fit(EachBatch(), Batches())
    assert spans(tmp_path / "fit-trace")["training_step"] == 2


SERVED = """
import socket, sys
import functrain_jax as ft
from functrain_jax.profilers import XLAProfiler
from tests.adapters.jax.common import Batches, Plain
quiet = dict(logger=False, checkpoint_callback=False, progress_bar_refresh_rate=0, weights_summary=None, max_epochs=1)
for _ in range(2):
    ft.Trainer(**quiet, profiler=XLAProfiler(int(sys.argv[1]))).fit(Plain(), Batches())
socket.create_connection(("localhost", int(sys.argv[1])), timeout=10).close()
try:
    ft.Trainer(**quiet, profiler=XLAProfiler(1)).fit(Plain(), Batches())
except ft.ConfigurationError as error:
    print(error)
"""


def test_a_server_for_tensorboard(tmp_path):
    """In a process of its own, since a server stays until its process ends."""
    root = Path(__file__).parents[3]
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    done = subprocess.run(
        [sys.executable, "-c", SERVED, str(port)], capture_output=True, text=True, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{root}:{root / 'adapters'}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"XLAProfiler(port=1): this process has the server of its profiler at port {port}" in done.stdout
