"""tensorboard.py: what TensorBoard itself reads back from the event files."""

from __future__ import annotations

import math
import os
import pickle
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from functrain.loggers import CSVLogger, LoggerCollection, TensorBoardLogger
from functrain.seed import rng_state
from functrain.trainer.hparams import load_hparams_yaml

event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")

ROOT = Path(__file__).resolve().parents[2]


def read(directory: Any) -> Any:
    everything = {"scalars": 0, "images": 0, "histograms": 0, "tensors": 0}
    return event_accumulator.EventAccumulator(str(directory), size_guidance=everything).Reload()


def scalars(directory: Any) -> dict[str, list[tuple[int, float]]]:
    events = read(directory)
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


# --- metrics


def test_metrics_are_read_back(tmp_path):
    logger = TensorBoardLogger(tmp_path)
    logger.log_metrics({"loss": 0.5, "val acc@1 (%)": 1}, step=3)
    logger.log_metrics({"loss": np.float32(0.25), "losses": {"a": 1.0}}, step=7)
    logger.log_metrics({"loss": 0.125})
    logger.finalize("success")
    assert scalars(tmp_path / "lightning_logs" / "version_0") == {
        "loss": [(3, 0.5), (7, 0.25), (7, 0.125)],
        "val acc@1 (%)": [(3, 1.0)],
        "losses/a": [(7, 1.0)],
    }


def test_not_finite_and_very_large_values(tmp_path, caplog):
    logger = TensorBoardLogger(tmp_path)
    logger.log_metrics({"nan": math.nan, "inf": math.inf, "minus": -math.inf, "large": 1e300}, 2**40)
    logger.finalize("success")
    got = scalars(logger.log_dir)
    assert math.isnan(got["nan"][0][1])
    assert got["nan"][0][0] == 2**40
    assert (got["inf"][0][1], got["minus"][0][1], got["large"][0][1]) == (math.inf, -math.inf, math.inf)
    assert caplog.text == ""


def test_nothing_is_made_before_something_is_written(tmp_path):
    logger = TensorBoardLogger(tmp_path / "logs")
    _ = logger.experiment, logger.log_dir
    logger.log_metrics({}, 0)
    logger.save()
    logger.after_save_checkpoint("x")
    logger.log_graph(object())
    logger.finalize("success")
    assert os.listdir(tmp_path) == []


def test_prefix(tmp_path):
    logger = TensorBoardLogger(tmp_path, prefix="fold1")
    logger.log_metrics({"loss": 1.0}, 0)
    logger.finalize("success")
    assert list(scalars(logger.log_dir)) == ["fold1-loss"]


def test_a_flush_leaves_nothing_out(tmp_path):
    logger = TensorBoardLogger(tmp_path, flush_every=1000)
    for step in range(500):
        logger.log_metrics({"loss": float(step)}, step)
    logger.save()
    assert len(scalars(logger.log_dir)["loss"]) == 500
    logger.log_metrics({"loss": 1.0}, 500)
    logger.after_save_checkpoint("a.ckpt")
    assert len(scalars(logger.log_dir)["loss"]) == 501


def test_events_are_written_out_every_so_many(tmp_path):
    logger = TensorBoardLogger(tmp_path, flush_every=3)
    counts = []
    for step in range(7):
        logger.log_metrics({"loss": 1.0}, step)
        path = Path(logger.log_dir)
        counts.append(len(scalars(path).get("loss", [])) if path.exists() else 0)
    assert counts == [0, 0, 3, 3, 3, 6, 6]
    with pytest.raises(ValueError, match="flush_every is 0"):
        TensorBoardLogger(tmp_path, flush_every=0)


def test_logging_after_the_end_and_in_a_second_run_loses_nothing(tmp_path):
    for start in (0, 20):
        logger = TensorBoardLogger(tmp_path, version=0)
        for step in (start, start + 10):
            logger.log_metrics({"loss": float(step)}, step)
            logger.finalize("success")
    assert scalars(logger.log_dir)["loss"] == [(step, float(step)) for step in (0, 10, 20, 30)]
    assert len(os.listdir(logger.log_dir)) == 4, "one event file each, though within one second"


def test_a_bad_metric_is_named_and_writes_nothing(tmp_path):
    logger = TensorBoardLogger(tmp_path)
    with pytest.raises(TypeError, match="'loss' is a list"):
        logger.log_metrics({"ok": 1.0, "loss": [1, 2]}, 0)  # type: ignore[dict-item]
    assert os.listdir(tmp_path) == []


# --- hyperparameters


def hparams_page(directory: Any) -> dict[str, Any]:
    from tensorboard.plugins.hparams import plugin_data_pb2

    found: dict[str, Any] = {}
    for tag, content in read(directory).PluginTagToContent("hparams").items():
        found[tag] = plugin_data_pb2.HParamsPluginData.FromString(content)
    return found


def values_of(start: Any) -> dict[str, Any]:
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in start.session_start_info.hparams.items()}


def test_hyperparameters_reach_yaml_and_the_hparams_page(tmp_path):
    logger = TensorBoardLogger(tmp_path)
    logger.log_hyperparams(
        {"lr": 0.1, "n": 3, "on": True, "act": "relu", "none": None, "widths": [1, 2], "net": object()}
    )
    logger.log_hyperparams({"model": {"depth": 2, "opts": {}}}, {"val/acc": 0.5})
    logger.log_hyperparams({"late": 1})
    logger.finalize("success")
    stored = load_hparams_yaml(Path(logger.log_dir) / "hparams.yaml")
    assert stored == {
        "lr": 0.1,
        "n": 3,
        "on": True,
        "act": "relu",
        "none": None,
        "widths": [1, 2],
        "model": {"depth": 2, "opts": {}},
        "late": 1,
    }
    assert scalars(logger.log_dir) == {"val/acc": [(0, 0.5)]}
    page = hparams_page(logger.log_dir)
    assert values_of(page["_hparams_/session_start_info"]) == {
        "lr": 0.1,
        "n": 3.0,
        "on": True,
        "act": "relu",
        "none": "None",
        "widths": "[1, 2]",
        "model/depth": 2.0,
        "model/opts": "{}",
    }
    experiment = page["_hparams_/experiment"].experiment
    assert [metric.name.tag for metric in experiment.metric_infos] == ["val/acc"]
    assert {info.name for info in experiment.hparam_infos} == set(values_of(page["_hparams_/session_start_info"]))


@pytest.mark.parametrize(("status", "code"), [("success", 1), ("failed", 2), ("interrupted", 2)])
def test_the_hparams_page_shows_how_a_run_ended(tmp_path, status, code):
    logger = TensorBoardLogger(tmp_path)
    logger.log_hyperparams({"lr": 1})
    logger.finalize(status)
    logger.finalize(status)
    assert hparams_page(logger.log_dir)["_hparams_/session_end_info"].session_end_info.status == code


@pytest.mark.parametrize(
    ("options", "metrics", "expected"),
    [
        ({}, None, {"hp_metric": [(0, -1.0)]}),
        ({"default_hp_metric": False}, None, {}),
        ({}, 0.75, {"hp_metric": [(0, 0.75)]}),
        ({"prefix": "p"}, {"acc": 1.0}, {"p-acc": [(0, 1.0)]}),
    ],
)
def test_metrics_to_compare_by(tmp_path, options, metrics, expected):
    logger = TensorBoardLogger(tmp_path, **options)
    logger.log_hyperparams({"lr": 1}, metrics)
    logger.finalize("success")
    assert scalars(logger.log_dir) == expected
    experiment = hparams_page(logger.log_dir)["_hparams_/experiment"].experiment
    assert [metric.name.tag for metric in experiment.metric_infos] == list(expected)


@pytest.mark.parametrize("event", ["metrics", "save", "finalize"])
def test_calls_before_the_first_event_count_as_one(tmp_path, event):
    logger = TensorBoardLogger(tmp_path)
    logger.log_hyperparams({"lr": 1})
    logger.log_hyperparams({"batch_size": 2})
    {
        "metrics": lambda: logger.log_metrics({"loss": 1.0}, 5),
        "save": logger.save,
        "finalize": lambda: logger.finalize("success"),
    }[event]()
    logger.save()
    page = hparams_page(logger.log_dir)
    assert values_of(page["_hparams_/session_start_info"]) == {"lr": 1.0, "batch_size": 2.0}
    assert len(scalars(logger.log_dir)["hp_metric"]) == 1


def test_without_a_default_metric_the_page_waits_for_one(tmp_path):
    logger = TensorBoardLogger(tmp_path, default_hp_metric=False)
    logger.log_hyperparams({"lr": 1})
    logger.log_metrics({"loss": 1.0}, 0)
    logger.save()
    with pytest.raises(KeyError, match="hparams"):
        hparams_page(logger.log_dir)
    logger.log_hyperparams({}, {"acc": 0.9})
    logger.finalize("success")
    page = hparams_page(logger.log_dir)
    assert values_of(page["_hparams_/session_start_info"]) == {"lr": 1.0}
    assert [metric.name.tag for metric in page["_hparams_/experiment"].experiment.metric_infos] == ["acc"]


# --- the SummaryWriter


def test_the_experiment_is_a_summary_writer_on_the_same_file(tmp_path):
    from tensorboardX import SummaryWriter

    logger = TensorBoardLogger(tmp_path)
    writer = logger.experiment
    assert isinstance(writer, SummaryWriter)
    assert writer is logger.experiment
    logger.log_metrics({"loss": 1.0}, 0)
    writer.add_scalar("mine", 2.0, 1)
    writer.add_image("picture", np.zeros((3, 4, 4), np.uint8), 1)
    writer.add_histogram("weights", np.arange(10.0), 1)
    writer.add_text("note", "hello", 1)
    writer.flush()
    tags = read(logger.log_dir).Tags()
    assert tags["scalars"] == ["loss", "mine"]
    assert (tags["images"], tags["histograms"]) == (["picture"], ["weights"])
    assert tags["tensors"] == ["note/text_summary"]
    writer.close()
    logger.log_metrics({"loss": 2.0}, 2)
    logger.experiment.add_scalar("mine", 3.0, 2)
    logger.finalize("success")
    assert scalars(logger.log_dir) == {"loss": [(0, 1.0), (2, 2.0)], "mine": [(1, 2.0), (2, 3.0)]}


def test_tensorboards_own_writer_is_not_needed_and_no_thread_is_left(tmp_path):
    import threading

    before = threading.active_count()
    logger = TensorBoardLogger(tmp_path)
    logger.experiment.add_scalar("a", 1.0, 0)
    assert threading.active_count() == before
    logger.finalize("success")


# --- crashes, forks, pickles


def test_a_killed_run_keeps_what_was_flushed_and_goes_on(tmp_path):
    code = """
        import os, signal, sys
        from functrain.loggers import TensorBoardLogger
        logger = TensorBoardLogger(sys.argv[1], version=0, flush_every=1000)
        for step in range(10):
            logger.log_metrics({"loss": float(step)}, step)
        logger.after_save_checkpoint("step-10.ckpt")
        logger.log_metrics({"loss": 10.0}, 10)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    assert run(code, tmp_path).returncode == -signal.SIGKILL
    logger = TensorBoardLogger(tmp_path, version=0)
    logger.log_metrics({"loss": 10.0}, 10)
    logger.finalize("success")
    assert scalars(logger.log_dir)["loss"] == [(step, float(step)) for step in range(11)]


def test_the_interpreters_end_writes_out(tmp_path):
    code = """
        import sys
        from functrain.loggers import TensorBoardLogger
        logger = TensorBoardLogger(sys.argv[1], version=0, flush_every=1000)
        logger.log_metrics({"loss": 1.0}, 0)
    """
    done = run(code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert scalars(tmp_path / "lightning_logs" / "version_0") == {"loss": [(0, 1.0)]}


def test_a_full_disk_is_an_error_that_names_the_file(tmp_path):
    code = """
        import resource, signal, sys
        from functrain.loggers import TensorBoardLogger
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        logger = TensorBoardLogger(sys.argv[1], version=0, flush_every=1)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
        step = 0
        try:
            while step < 1000:
                logger.log_metrics({"loss": 1.0}, step)
                step += 1
        except OSError as error:
            print(error)
            print(step)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        logger.log_metrics({"loss": 1.0}, step + 1)
        logger.finalize("success")
    """
    done = run(code, tmp_path)
    assert done.returncode == 0, done.stderr
    message, step = done.stdout.splitlines()
    assert "version_0/events.out.tfevents" in message
    got = scalars(tmp_path / "lightning_logs" / "version_0")["loss"]
    assert [at for at, _ in got] == list(range(int(step) + 2)), "not even the event that failed is lost"


def test_a_pickled_logger_goes_on(tmp_path):
    logger = TensorBoardLogger(tmp_path)
    logger.log_hyperparams({"lr": 1})
    logger.log_metrics({"a": 1.0}, 0)
    other = pickle.loads(pickle.dumps(logger))
    assert (other.log_dir, other.hparams) == (logger.log_dir, {"lr": 1})
    other.log_metrics({"a": 2.0}, 1)
    other.finalize("success")
    assert scalars(logger.log_dir)["a"] == [(0, 1.0), (1, 2.0)]


def test_a_forked_child_does_not_repeat_its_parents_events(tmp_path):
    code = """
        import os, sys
        from functrain.loggers import TensorBoardLogger
        logger = TensorBoardLogger(sys.argv[1], version=0)
        logger.log_metrics({"loss": 1.0}, 0)
        if not (child := os.fork()):
            logger.save()
            raise SystemExit
        os.waitpid(child, 0)
        logger.finalize("success")
    """
    done = run(code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert scalars(tmp_path / "lightning_logs" / "version_0") == {"loss": [(0, 1.0)]}


# --- imports


def test_torch_is_not_loaded_and_stays_importable(tmp_path):
    code = """
        import sys
        from functrain.loggers import TensorBoardLogger
        assert not {"tensorboardX", "numpy", "yaml"} & set(sys.modules)
        logger = TensorBoardLogger(sys.argv[1])
        assert "tensorboardX" not in sys.modules
        logger.log_metrics({"a": 1.0}, 0)
        logger.log_hyperparams({"lr": 1})
        logger.experiment.add_text("a", "b")
        logger.finalize("success")
        assert "tensorboardX" in sys.modules
        assert not {"torch", "jax", "tensorboard"} & set(sys.modules)
        assert all(type(finder).__name__ != "_NoTorch" for finder in sys.meta_path)
        import importlib.util
        print(importlib.util.find_spec("torch") is not None)
    """
    done = run(code, tmp_path)
    assert done.returncode == 0, done.stderr
    import importlib.util

    assert done.stdout.strip() == str(importlib.util.find_spec("torch") is not None)


def test_without_tensorboardx_the_error_says_what_to_install(tmp_path):
    code = """
        import sys
        class Missing:
            def find_spec(self, name, path=None, target=None):
                if name == "tensorboardX":
                    raise ModuleNotFoundError("No module named 'tensorboardX'", name=name)
        sys.meta_path.insert(0, Missing())
        from functrain.loggers import TensorBoardLogger
        TensorBoardLogger(sys.argv[1]).log_metrics({"a": 1.0}, 0)
    """
    done = run(code, tmp_path)
    assert "pip install tensorboardX" in done.stderr.splitlines()[-1]
    assert os.listdir(tmp_path) == []


# --- the graph


def test_a_graph_is_recorded_and_the_module_kept_as_it_was(tmp_path):
    torch = pytest.importorskip("torch")

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.body = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Dropout(0.5))
            self.body[1].eval()
            self.example_input_array = torch.ones(2, 3)

        def forward(self, x):
            return self.body(x).sum() if x.shape[0] > 1 else x

    net = Net()
    modes = [module.training for module in net.modules()]
    before = {name: value.clone() for name, value in net.state_dict().items()}
    states = rng_state(), torch.get_rng_state()
    logger = TensorBoardLogger(tmp_path, log_graph=True)
    logger.log_graph(net)
    logger.finalize("success")
    tags = read(logger.log_dir).Tags()
    assert tags["graph"]
    assert "Linear" in str(read(logger.log_dir).Graph())
    assert [module.training for module in net.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert rng_state() == states[0]
    assert torch.equal(torch.get_rng_state(), states[1])


def test_a_graph_that_cannot_be_had_is_a_warning(tmp_path):
    torch = pytest.importorskip("torch")

    class Broken(torch.nn.Module):
        def forward(self, x):
            raise RuntimeError("no such shape")

    logger = TensorBoardLogger(tmp_path, log_graph=True)
    with pytest.warns(UserWarning, match="object is no torch module"):
        logger.log_graph(object())
    with pytest.warns(UserWarning, match="Linear has no example_input_array"):
        logger.log_graph(torch.nn.Linear(1, 1))
    with pytest.warns(UserWarning, match="Broken cannot be traced.*no such shape"):
        logger.log_graph(Broken(), torch.ones(1))
    assert os.listdir(tmp_path) == []
    TensorBoardLogger(tmp_path, log_graph=False).log_graph(torch.nn.Linear(1, 1), torch.ones(1, 1))
    assert os.listdir(tmp_path) == []


# --- with others, and at a URL


def test_a_collection_with_a_csv_logger(tmp_path):
    both = LoggerCollection([TensorBoardLogger(tmp_path, "tb"), CSVLogger(tmp_path, "csv")])
    both.log_hyperparams({"lr": 1})
    both.log_metrics({"loss": 1.5}, 4)
    both.finalize("success")
    assert both.log_dir == str(tmp_path / "tb" / "version_0")
    assert scalars(both.log_dir)["loss"] == [(4, 1.5)]
    assert (tmp_path / "csv" / "version_0" / "metrics.csv").read_text() == "step,loss\n4,1.5\n"


def test_at_a_url(tmp_path):
    import fsspec

    fs = fsspec.filesystem("memory")
    try:
        logger = TensorBoardLogger("memory://functrain-tb", flush_every=2)
        for step in range(5):
            logger.log_metrics({"loss": float(step)}, step)
        logger.log_hyperparams({"lr": 1})
        logger.finalize("success")
        assert TensorBoardLogger("memory://functrain-tb").version == 1
        fs.get("/functrain-tb/lightning_logs/version_0", str(tmp_path / "copy"), recursive=True)
        assert scalars(tmp_path / "copy")["loss"] == [(step, float(step)) for step in range(5)]
        assert load_hparams_yaml(tmp_path / "copy" / "hparams.yaml") == {"lr": 1}
    finally:
        fs.rm("/functrain-tb", recursive=True)


@pytest.mark.parametrize(("metrics", "error"), [({"n": 10**400}, OverflowError), ({"\ud800": 1.0}, UnicodeEncodeError)])
def test_what_cannot_be_written_says_so_where_it_is_logged_and_harms_nothing_else(tmp_path, metrics, error):
    logger = TensorBoardLogger(tmp_path)
    logger.log_metrics({"loss": 1e300}, 1)
    with pytest.raises(error):
        logger.log_metrics(metrics, 2)
    logger.log_metrics({"loss": 0.5}, 3)
    logger.finalize("success")
    assert scalars(logger.log_dir)["loss"] == [(1, float("inf")), (3, 0.5)]
