"""PyTorchProfiler: the trace that it writes is one that can be read, with the spans and the operators of the steps."""

from __future__ import annotations

import copy
import json
import pickle
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.profiler import schedule

import functrain_torch as pl
from functrain.loggers import CSVLogger
from functrain_torch.profilers import PyTorchProfiler, RegisterRecordFunction
from tests.adapters.torch import small
from tests.adapters.torch.small import QUIET, batches


def spans(path: Path) -> Counter[str]:
    """The complete spans of a trace of Chrome's form by name."""
    events = json.loads(path.read_text())["traceEvents"]
    return Counter(event["name"] for event in events if event.get("ph") == "X")


class Net(small.Net):
    """With every stage."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.loss(batch)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.loss(batch)

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        return self.loss(batch)


def trainer(profiler: Any, **flags: Any) -> pl.Trainer:
    return pl.Trainer(**{**QUIET, "max_epochs": 1, "num_sanity_val_steps": 0, "profiler": profiler, **flags})


def table_of(out: str) -> dict[str, int]:
    """The number of calls of each row of the report."""
    rows = [line.split() for line in out.splitlines() if re.search(r"\d+us|\d+ms", line)]
    return {row[0]: int(row[-1]) for row in rows if row[-1].isdigit()}


def test_the_first_five_batches_of_a_fit(tmp_path, capsys):
    trainer(PyTorchProfiler(tmp_path, row_limit=-1), max_epochs=2).fit(Net(), batches(8), batches(2))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fit-profile.txt", "fit-trace.pt.trace.json"]
    found = spans(tmp_path / "fit-trace.pt.trace.json")
    for name in ("get_train_batch", "training_step", "backward", "optimizer_step"):
        assert found[name] == 5, name
    assert found["aten::addmm"] == 10  # two layers
    assert [found[f"ProfilerStep#{n}"] for n in range(6)] == [1, 1, 1, 1, 1, 0]
    assert found["validation_step"] == 0
    assert found["torch.nn.modules.linear.Linear: net.0"] == 5
    told = table_of((tmp_path / "fit-profile.txt").read_text())
    assert (told["training_step"], told["aten::addmm"]) == (5, 10)
    assert capsys.readouterr().out == ""


def test_the_word_writes_beside_the_logs_and_prints_the_table(tmp_path, capfd):
    logger = CSVLogger(tmp_path)
    trainer("pytorch", logger=logger).fit(Net(), batches(2))
    assert spans(Path(logger.log_dir) / "fit-trace.pt.trace.json")["training_step"] == 2
    assert "FIT Profiler Report" in capfd.readouterr().out


def test_evaluations(tmp_path):
    run, net = trainer(PyTorchProfiler(tmp_path)), Net()
    for stage, step in (("validate", "validation_step"), ("test", "test_step"), ("predict", "predict_step")):
        getattr(run, stage)(net, batches(3))
        found = spans(tmp_path / f"{stage}-trace.pt.trace.json")
        assert (found[step], found["aten::addmm"]) == (3, 6)


def test_two_fits_in_a_row_are_two_traces(tmp_path):
    run, net = trainer(PyTorchProfiler(tmp_path)), Net()
    run.fit(net, batches(2))
    run.fit(net, batches(3))
    assert spans(tmp_path / "fit-trace.pt.trace.json")["training_step"] == 2
    assert spans(tmp_path / "fit-trace-2.pt.trace.json")["training_step"] == 3


def test_a_fit_that_fails_leaves_its_trace_and_the_next_one_its_own(tmp_path):
    class Fails(Net):
        fails = True

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            if self.fails and batch_idx == 2:
                raise ArithmeticError("fails")
            return super().training_step(batch, batch_idx)

    run, net = trainer(PyTorchProfiler(tmp_path)), Fails()
    with pytest.raises(ArithmeticError, match="fails"):
        run.fit(net, batches(4))
    assert spans(tmp_path / "fit-trace.pt.trace.json")["optimizer_step"] == 2
    net.fails = False
    run.fit(net, batches(4))
    assert spans(tmp_path / "fit-trace-2.pt.trace.json")["optimizer_step"] == 4


def test_nothing_is_left_in_the_module(tmp_path):
    seen: list[int] = []

    class Looks(Net):
        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            seen.append(len(self.net[0]._forward_hooks))

    net = Looks()
    trainer(PyTorchProfiler(tmp_path)).fit(net, batches(8))
    assert seen == [1] * 5 + [0] * 3
    assert not net.net[0]._forward_hooks
    assert not net.net[0]._forward_pre_hooks


def test_a_module_is_copied_while_it_is_recorded(tmp_path):
    class Copies(Net):
        def forward(self, x: Any) -> Any:
            copy.deepcopy(self)(x) if self.trainer is not None else None
            return super().forward(x)

    trainer(PyTorchProfiler(tmp_path)).fit(Copies(), batches(2))
    assert spans(tmp_path / "fit-trace.pt.trace.json")["aten::addmm"] == 8


def test_the_same_weights_with_and_without(tmp_path):
    def fitted(profiler: Any) -> list[torch.Tensor]:
        torch.manual_seed(0)
        net = Net(dropout=0.5)
        trainer(profiler).fit(net, batches(8))
        return list(net.parameters())

    for one, other in zip(fitted(None), fitted(PyTorchProfiler(tmp_path)), strict=True):
        assert torch.equal(one, other)


def test_a_schedule_of_ones_own_writes_a_trace_a_cycle(tmp_path):
    cycles = schedule(wait=1, warmup=1, active=2, repeat=2)
    trainer(PyTorchProfiler(tmp_path, "mine", schedule=cycles)).fit(Net(), batches(10))
    for name in ("fit-mine.pt.trace.json", "fit-mine-2.pt.trace.json"):
        assert spans(tmp_path / name)["training_step"] == 2
    assert (tmp_path / "fit-mine.txt").read_text().count("Self CPU time total") == 2


def test_a_schedule_that_never_records_is_told(tmp_path):
    late = PyTorchProfiler(tmp_path, schedule=schedule(wait=100, warmup=1, active=1))
    with pytest.warns(UserWarning, match="ended before its schedule recorded a step"):
        trainer(late).fit(Net(), batches(2))
    assert list(tmp_path.iterdir()) == []


def test_what_is_done_when_a_trace_is_ready_can_be_ones_own(tmp_path):
    given: list[Any] = []
    trainer(PyTorchProfiler(tmp_path, on_trace_ready=given.append)).fit(Net(), batches(2))
    assert len(given) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["fit-profile.txt"]


def test_no_trace_and_no_names_of_parts(tmp_path):
    trainer(PyTorchProfiler(tmp_path, export_to_chrome=False)).fit(Net(), batches(2))
    assert [path.name for path in tmp_path.iterdir()] == ["fit-profile.txt"]
    trainer(PyTorchProfiler(tmp_path, record_module_names=False)).fit(Net(), batches(2))
    assert not [name for name in spans(tmp_path / "fit-trace.pt.trace.json") if "Linear" in name]


def test_forms_of_inputs(tmp_path, capfd):
    trainer(PyTorchProfiler(group_by_input_shapes=True, export_to_chrome=False)).fit(Net(), batches(2))
    assert "[4, 8]" in capfd.readouterr().out


def test_a_trace_goes_to_a_url(tmp_path):
    import fsspec

    trainer(PyTorchProfiler("memory://traces")).fit(Net(), batches(2))
    with fsspec.open("memory://traces/fit-trace.pt.trace.json", "r") as file:
        assert "training_step" in file.read()


def test_no_run_ends_for_a_trace_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    profiler = PyTorchProfiler(tmp_path / "file" / "below")
    net = Net()
    no_report = pytest.warns(UserWarning, match="the report of PyTorchProfiler is not written")
    with no_report, pytest.warns(UserWarning, match="the run goes on without its trace: .*below"):
        trainer(profiler).fit(net, batches(8))
    assert net.global_step == 8


def test_without_a_trainer(tmp_path):
    profiler = PyTorchProfiler(tmp_path, "alone")
    with profiler.profile("multiply"):
        torch.ones(4, 4) @ torch.ones(4, 4)
    profiler.describe()
    found = spans(tmp_path / "alone.pt.trace.json")
    assert (found["multiply"], found["aten::mm"]) == (1, 1)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"record_shape": True}, r"PyTorchProfiler\(record_shape=True\).*Did you mean 'record_shapes'"),
        ({"sort_by_key": "cpu_total"}, r"sort_by_key='cpu_total'\): there is no such column\. Did you mean 'cpu_time"),
        ({"group_by_input_shapes": True, "record_shapes": False}, "these contradict each other"),
    ],
)  # fmt: skip
def test_impossible_arguments(given, says):
    with pytest.raises(pl.ConfigurationError, match=says):
        PyTorchProfiler(**given)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_ranges_for_nvidia_need_a_gpu():
    with pytest.raises(pl.ConfigurationError, match=r"emit_nvtx=True\): needs a CUDA device"):
        PyTorchProfiler(emit_nvtx=True)


@pytest.mark.parametrize("through", [copy.deepcopy, lambda profiler: pickle.loads(pickle.dumps(profiler))])
def test_a_copy_records_nothing_of_the_run_under_way(through, tmp_path):
    made: list[PyTorchProfiler] = []

    class Copies(Net):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            made.append(through(self.trainer.profiler))

    trainer(PyTorchProfiler(tmp_path)).fit(Copies(), batches(2))
    assert made[1].summary() == ""
    trainer(made[1]).fit(Net(), batches(3))
    assert spans(tmp_path / "fit-trace-2.pt.trace.json")["training_step"] == 3


def test_the_parts_of_a_module_in_a_recording_of_ones_own():
    net = Net()
    with torch.profiler.profile() as recorded, RegisterRecordFunction(net):
        net(torch.ones(1, 4))
    assert "torch.nn.modules.linear.Linear: net.0" in {each.key for each in recorded.key_averages()}
    assert not net.net[0]._forward_hooks


def test_the_names_of_older_generations():
    from functrain_torch.profiler import AbstractProfiler, AdvancedProfiler, BaseProfiler, SimpleProfiler

    assert BaseProfiler is AbstractProfiler
    assert issubclass(SimpleProfiler, BaseProfiler)
    assert issubclass(AdvancedProfiler, BaseProfiler)
    assert issubclass(PyTorchProfiler, BaseProfiler)
