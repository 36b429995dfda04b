"""Metric classes under their old names: over batches they are what the functions are of all; a module logs them."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import functrain_torch as pl
from functrain_torch import metrics as M
from functrain_torch.metrics import functional as F
from tests.structure.graph import ROOT

generator = torch.Generator().manual_seed(0)
SCORES = torch.randn(50, 4, generator=generator).softmax(-1)
LABELS = torch.randint(4, (50,), generator=generator)
FLAGS = (torch.rand(50, 4, generator=generator) < 0.4).long()
YES = LABELS % 2
IMAGES = torch.rand(50, 1, generator=generator)

CASES = {
    "Accuracy": (M.Accuracy(), F.accuracy, SCORES, LABELS),
    "top 2": (M.Accuracy(top_k=2), lambda p, t: F.accuracy(p, t, top_k=2), SCORES, LABELS),
    "Accuracy of labels": (M.Accuracy(), F.accuracy, SCORES, FLAGS),
    "subset": (M.Accuracy(0.3, None, True), lambda p, t: F.accuracy(p, t, 0.3, None, True), SCORES, FLAGS),
    "yes and no": (M.Accuracy(0.3), lambda p, t: F.accuracy(p, t, 0.3), SCORES[:, 0], YES),
    "HammingDistance": (M.HammingDistance(0.3), lambda p, t: F.hamming_distance(p, t, 0.3), SCORES, FLAGS),
    "Precision": (M.Precision(), F.precision, SCORES, LABELS),
    "Precision of yes": (M.Precision(1, 0.3), lambda p, t: F.precision(p, t, threshold=0.3), SCORES[:, 0], YES),
    "Recall of each": (M.Recall(4, average="none"), lambda p, t: F.recall(p, t, "none"), SCORES, LABELS),
    "F1 of labels": (
        M.F1(4, 0.3, "macro", True), lambda p, t: F.f1(p, t, 4, 0.3, "macro", True), SCORES, FLAGS,
    ),
    "FBeta": (M.FBeta(4, 2.0, average="weighted"), lambda p, t: F.fbeta(p, t, 4, 2.0, average="weighted"),
              SCORES, LABELS),
    "F1, a class is nowhere": (
        M.F1(5, average="macro"), lambda p, t: F.f1(p, t, 5, average="macro"), SCORES.argmax(1), LABELS,
    ),
    "StatScores": (M.StatScores(reduce="macro", num_classes=4), lambda p, t: F.stat_scores(p, t, "macro"),
                   SCORES, LABELS),
    "ConfusionMatrix": (M.ConfusionMatrix(4, "true"), lambda p, t: F.confusion_matrix(p, t, 4, "true"),
                        SCORES, LABELS),
    "IoU": (M.IoU(4), lambda p, t: F.iou(p, t, num_classes=4), SCORES, LABELS),
    "AUROC": (M.AUROC(4), lambda p, t: F.auroc(p, t, 4), SCORES, LABELS),
    "AUROC of yes": (M.AUROC(), F.auroc, SCORES[:, 0], YES),
    "AveragePrecision": (M.AveragePrecision(), F.average_precision, SCORES[:, 0], YES),
    "ROC": (M.ROC(), lambda p, t: F.roc(p, t), SCORES[:, 0], YES),
    "PrecisionRecallCurve": (M.PrecisionRecallCurve(), lambda p, t: F.precision_recall_curve(p, t), SCORES[:, 0], YES),
    "PSNR": (M.PSNR(), F.psnr, IMAGES * 0.9, IMAGES),
    "AUC": (M.AUC(), F.auc, torch.arange(50.0), torch.rand(50)),
    "R2Score": (M.R2Score(1), F.r2score, IMAGES[:, 0] * 0.9, IMAGES[:, 0]),
    "MeanSquaredError": (M.MeanSquaredError(), F.mean_squared_error, IMAGES * 0.9, IMAGES),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_over_batches_it_is_the_function_of_all(name: str):
    metric, function, preds, target = CASES[name]
    metric.reset()
    for start in range(0, 50, 20):
        metric.update(preds[start : start + 20], target[start : start + 20])
    ours, theirs = metric.compute(), function(preds, target)
    for one, other in zip(*(each if isinstance(each, tuple) else (each,) for each in (ours, theirs)), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-6)


def test_images_and_texts():
    images = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(M.SSIM()(images * 0.75, images), F.ssim(images * 0.75, images), rtol=1e-6)
    said, references = ["the cat is on the mat"], [["there is a cat on the mat", "a cat is on the mat"]]
    np.testing.assert_allclose(M.BLEUScore()(said, references), F.bleu_score(said, references))


def test_called_it_is_the_value_of_the_batch_and_goes_on():
    metric, quiet = M.Accuracy(), M.Accuracy(compute_on_step=False)
    first = metric(SCORES[:20], LABELS[:20])
    assert quiet(SCORES[:20], LABELS[:20]) is None
    np.testing.assert_allclose(first, F.accuracy(SCORES[:20], LABELS[:20]))
    metric(SCORES[20:], LABELS[20:])
    quiet(SCORES[20:], LABELS[20:])
    np.testing.assert_allclose(metric.compute(), F.accuracy(SCORES, LABELS))
    assert metric.compute() == quiet.compute()


def test_what_a_class_cannot_keep_is_an_error():
    with pytest.raises(pl.ConfigurationError, match="needs num_classes"):
        M.Precision(average="macro")
    with pytest.raises(pl.ConfigurationError, match="average='samples'"):
        M.Recall(average="samples")
    with pytest.raises(pl.ConfigurationError, match="'samplewise' keeps every sample"):
        M.Precision(mdmc_average="samplewise")
    with pytest.raises(pl.ConfigurationError, match="normalize='rows'"):
        M.ConfusionMatrix(3, "rows")


class Classifier(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, 4)
        self.accuracy = pl.metrics.Accuracy()

    def training_step(self, batch, batch_idx):
        return torch.nn.functional.cross_entropy(self.layer(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        self.accuracy(self.layer(batch[0]), batch[1])
        self.log("acc", self.accuracy)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_a_module_logs_it(tmp_path):
    data = TensorDataset(torch.randn(50, 3), LABELS)
    module = Classifier()
    trainer = pl.Trainer(default_root_dir=tmp_path, logger=False, progress_bar_refresh_rate=0, weights_summary=None)
    (logged,) = trainer.validate(module, DataLoader(data, 16), verbose=False)
    with torch.no_grad():
        np.testing.assert_allclose(logged["acc"], F.accuracy(module.layer(data.tensors[0]), LABELS), rtol=1e-6)


def fresh(code: str, *flags: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(ROOT), str(ROOT / "adapters")])
    env = {**os.environ, "PYTHONPATH": path}
    return subprocess.run([sys.executable, *flags, "-c", code], env=env, capture_output=True, text=True)


def test_torchmetrics_is_loaded_when_metrics_are_touched():
    code = """
import json, sys
import functrain_torch as pl
before = "torchmetrics" in sys.modules
pl.metrics.Accuracy
print(json.dumps([before, "torchmetrics" in sys.modules]))
"""
    assert json.loads(fresh(code).stdout) == [False, True]


@pytest.mark.parametrize("touch", ["pl.metrics", "from functrain_torch.metrics.functional import accuracy"])
def test_without_torchmetrics_it_says_what_to_install(touch: str):
    code = f"""
import sys
from importlib.machinery import PathFinder
class Gone:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torchmetrics":
            return None
        return PathFinder.find_spec(name, path, target)
sys.meta_path[:] = [Gone() if each is PathFinder else each for each in sys.meta_path]
import functrain_torch as pl
try:
    {touch}
except pl.ConfigurationError as error:
    assert "pip install torchmetrics" in str(error), error
else:
    raise SystemExit("nothing was said")
"""
    done = fresh(code)
    assert done.returncode == 0, done.stdout + done.stderr
