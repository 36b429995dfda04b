"""Metrics as functions: what the documents print, and what scikit-learn computes."""

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn
from torch import tensor

import functrain_torch as pl
from functrain_torch.metrics import functional as F
from functrain_torch.metrics.functional import classification

LABELS = tensor([0, 0, 0, 1, 1, 1, 2, 2, 2])
FOUND = tensor([0, 0, 0, 0, 1, 1, 1, 1, 2])
YES = tensor([0, 0, 0, 0, 1, 1, 1, 1])
SAID = tensor([0, 0, 1, 1, 0, 1, 1, 1])


def shown(value: object) -> str:
    """As an interpreter prints it."""
    return repr(value)


PRINTED = [
    (F.accuracy(tensor([0, 2, 1, 3]), tensor([0, 1, 2, 3])), "tensor(0.5000)"),
    (F.confusion_matrix(SAID, YES, num_classes=2), "tensor([[2., 2.],\n        [1., 3.]])"),
    (F.precision(SAID, YES, class_reduction="none"), "tensor([0.6667, 0.6000])"),
    (F.recall(SAID, YES, class_reduction="none"), "tensor([0.5000, 0.7500])"),
    (
        F.precision_recall(SAID, YES, class_reduction="none"),
        "(tensor([0.6667, 0.6000]), tensor([0.5000, 0.7500]))",
    ),
    (F.f1(SAID, YES, num_classes=2, average="none"), "tensor([0.5714, 0.6667])"),
    (
        F.confusion_matrix(FOUND, LABELS, num_classes=3),
        "tensor([[3., 0., 0.],\n        [1., 2., 0.],\n        [0., 2., 1.]])",
    ),
    (F.precision(FOUND, LABELS, class_reduction="none"), "tensor([0.7500, 0.5000, 1.0000])"),
    (F.precision(FOUND, LABELS, class_reduction="macro"), "tensor(0.7500)"),
    (F.precision(FOUND, LABELS, class_reduction="micro"), "tensor(0.6667)"),
    (F.recall(FOUND, LABELS, class_reduction="none"), "tensor([1.0000, 0.6667, 0.3333])"),
    (F.recall(FOUND, LABELS, class_reduction="macro"), "tensor(0.6667)"),
    (F.recall(FOUND, LABELS, class_reduction="micro"), "tensor(0.6667)"),
    (
        F.precision_recall(FOUND, LABELS, class_reduction="none"),
        "(tensor([0.7500, 0.5000, 1.0000]), tensor([1.0000, 0.6667, 0.3333]))",
    ),
    (F.precision_recall(FOUND, LABELS, class_reduction="macro"), "(tensor(0.7500), tensor(0.6667))"),
    (F.precision_recall(FOUND, LABELS, class_reduction="micro"), "(tensor(0.6667), tensor(0.6667))"),
    (F.f1(FOUND, LABELS, num_classes=3, average="none"), "tensor([0.8571, 0.5714, 0.5000])"),
    (F.f1(FOUND, LABELS, num_classes=3, average="macro"), "tensor(0.6429)"),
    (F.f1(FOUND, LABELS, num_classes=3, average="micro"), "tensor(0.6667)"),
    (F.mean_absolute_error(torch.arange(10.0), torch.arange(10.0) + 2), "tensor(2.)"),
    (F.mean_squared_error(torch.arange(10.0), torch.arange(10.0) + 2), "tensor(4.)"),
]


@pytest.mark.parametrize(("value", "printed"), PRINTED)
def test_what_the_documents_print(value: object, printed: str):
    assert shown(value) == printed


# ---- against scikit-learn, in every kind of case

CLASSES = 4


@pytest.fixture
def scores() -> torch.Tensor:
    return torch.randn(60, CLASSES, generator=torch.Generator().manual_seed(0)).softmax(-1)


@pytest.fixture
def labels() -> torch.Tensor:
    return torch.randint(CLASSES, (60,), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("average", ["micro", "macro", "weighted", "none"])
def test_scores_of_classes(scores: torch.Tensor, labels: torch.Tensor, average: str):
    found, wish = scores.argmax(1), None if average == "none" else average
    for ours, theirs in (
        (F.precision(scores, labels, average=average), sklearn.precision_score),
        (F.recall(scores, labels, average=average), sklearn.recall_score),
        (F.f1(scores, labels, CLASSES, average=average), sklearn.f1_score),
        (F.f1_score(found, labels, class_reduction=average), sklearn.f1_score),
        (F.precision(found, labels, CLASSES, class_reduction=average), sklearn.precision_score),
    ):
        np.testing.assert_allclose(ours, theirs(labels, found, average=wish), rtol=1e-6)


@pytest.mark.parametrize("average", ["micro", "macro", "weighted", "none", "samples"])
def test_several_labels_a_sample(scores: torch.Tensor, average: str):
    target = (torch.rand(60, CLASSES, generator=torch.Generator().manual_seed(2)) < 0.5).long()
    said, wish = (scores >= 0.3).long(), None if average == "none" else average
    for ours, theirs in (
        (F.precision(scores, target, average=average, threshold=0.3), sklearn.precision_score),
        (F.recall(said, target, average=average, is_multiclass=False), sklearn.recall_score),
        (F.fbeta(said, target, CLASSES, 1.0, average=average, multilabel=True), sklearn.f1_score),
    ):
        np.testing.assert_allclose(ours, theirs(target, said, average=wish, zero_division=0), rtol=1e-6)


def test_yes_and_no(scores: torch.Tensor, labels: torch.Tensor):
    preds, target = scores[:, 0], labels % 2
    said = preds >= 0.25
    np.testing.assert_allclose(F.precision(preds, target, threshold=0.25), sklearn.precision_score(target, said))
    np.testing.assert_allclose(F.recall(said.long(), target, num_classes=1), sklearn.recall_score(target, said))
    np.testing.assert_allclose(F.accuracy(preds, target, threshold=0.25), sklearn.accuracy_score(target, said))
    beta = sklearn.fbeta_score(target, said, beta=2.0)
    np.testing.assert_allclose(F.fbeta(preds, target, beta=2.0, threshold=0.25), beta, rtol=1e-6)
    np.testing.assert_allclose(F.hamming_distance(preds, target, 0.25), sklearn.hamming_loss(target, said), rtol=1e-6)
    two = torch.stack([1 - preds, preds], dim=1)
    np.testing.assert_allclose(F.recall(two, target, is_multiclass=False, threshold=0.25),
                               sklearn.recall_score(target, said))  # fmt: skip
    np.testing.assert_allclose(F.precision(preds, target, average="none", threshold=0.25, is_multiclass=True),
                               sklearn.precision_score(target, said, average=None), rtol=1e-6)  # fmt: skip


def test_accuracy_of_every_kind(scores: torch.Tensor, labels: torch.Tensor):
    np.testing.assert_allclose(F.accuracy(scores, labels), sklearn.accuracy_score(labels, scores.argmax(1)))
    np.testing.assert_allclose(
        F.accuracy(scores, labels, top_k=2), sklearn.top_k_accuracy_score(labels, scores.numpy(), k=2), rtol=1e-6
    )
    balanced = sklearn.balanced_accuracy_score(labels, scores.argmax(1))
    np.testing.assert_allclose(F.accuracy(scores, labels, class_reduction="macro"), balanced, rtol=1e-6)
    target, said = (scores.flip(0) > 0.3).long(), scores >= 0.3
    np.testing.assert_allclose(F.accuracy(scores, target, threshold=0.3), (said == target).float().mean(), rtol=1e-6)
    np.testing.assert_allclose(
        F.accuracy(scores, target, threshold=0.3, subset_accuracy=True), sklearn.accuracy_score(target, said), rtol=1e-6
    )
    several = F.accuracy(scores.reshape(20, 3, CLASSES).permute(0, 2, 1), labels.reshape(20, 3), subset_accuracy=True)
    whole = (scores.argmax(1) == labels).reshape(20, 3).all(1).float().mean()
    np.testing.assert_allclose(several, whole, rtol=1e-6)


def test_several_elements_a_sample_ask_how(scores: torch.Tensor, labels: torch.Tensor):
    preds, target = scores.reshape(20, 3, CLASSES).permute(0, 2, 1), labels.reshape(20, 3)
    with pytest.raises(pl.ConfigurationError, match="mdmc_average='global'"):
        F.precision(preds, target, average="macro")
    np.testing.assert_allclose(
        F.precision(preds, target, average="macro", mdmc_average="global"),
        sklearn.precision_score(labels, scores.argmax(1), average="macro"), rtol=1e-6)  # fmt: skip
    each = [float(F.precision(p, t)) for p, t in zip(preds.transpose(1, 2), target, strict=True)]
    np.testing.assert_allclose(F.precision(preds, target, mdmc_average="samplewise"), np.mean(each), rtol=1e-6)


@pytest.mark.parametrize("normalize", [None, "true", "pred", "all"])
def test_confusion_matrix(scores: torch.Tensor, labels: torch.Tensor, normalize: str | None):
    ours = F.confusion_matrix(scores, labels, CLASSES, normalize=normalize)
    theirs = sklearn.confusion_matrix(labels, scores.argmax(1), normalize=normalize)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    assert ours.dtype == torch.float32


def test_intersection_over_union(scores: torch.Tensor, labels: torch.Tensor):
    ours = F.iou(scores.argmax(1), labels, reduction="none")
    np.testing.assert_allclose(ours, sklearn.jaccard_score(labels, scores.argmax(1), average=None), rtol=1e-6)
    # Class 1 is left out; class 3 is nowhere.
    found, there = tensor([0, 1, 2, 2]), tensor([0, 1, 2, 0])
    ours = F.iou(found, there, ignore_index=1, absent_score=0.25, num_classes=4, reduction="none")
    np.testing.assert_allclose(ours, [0.5, 0.5, 0.25])


def test_dice():
    preds = torch.full((4, 4), 0.05).fill_diagonal_(0.85)
    target = tensor([0, 1, 3, 2])
    assert shown(F.dice_score(preds, target)) == "tensor(0.3333)"
    assert shown(F.dice_score(preds, target, bg=True, reduction="none")) == "tensor([1., 1., 0., 0.])"
    absent = F.dice_score(preds, tensor([0, 1, 2, 2]), no_fg_score=0.5, reduction="none")
    assert shown(absent) == "tensor([1.0000, 0.6667, 0.5000])"


def test_counts(scores: torch.Tensor, labels: torch.Tensor):
    found = scores.argmax(1)
    theirs = sklearn.multilabel_confusion_matrix(labels, found)
    tn, fp, fn, tp = theirs[:, 0, 0], theirs[:, 0, 1], theirs[:, 1, 0], theirs[:, 1, 1]
    each = np.stack([tp, fp, tn, fn, tp + fn], axis=1)
    np.testing.assert_array_equal(F.stat_scores(scores, labels, reduce="macro"), each)
    np.testing.assert_array_equal(F.stat_scores(scores, labels), each.sum(0))
    np.testing.assert_array_equal(torch.stack(F.stat_scores(found, labels, 2)), each[2])
    np.testing.assert_array_equal(torch.stack(F.stat_scores(found, labels, class_index=7))[[0, 1, 4]], [0, 0, 0])
    np.testing.assert_array_equal(torch.stack(F.stat_scores_multiple_classes(scores, labels), dim=1), each)
    of_samples = F.stat_scores(scores, labels, reduce="samples")
    assert of_samples.shape == (60, 5)
    np.testing.assert_array_equal(of_samples.sum(0), each.sum(0))


def test_curves(scores: torch.Tensor, labels: torch.Tensor):
    preds, target = scores[:, 0], (labels == 0).long()
    np.testing.assert_allclose(F.auroc(preds, target), sklearn.roc_auc_score(target, preds), rtol=1e-6)
    np.testing.assert_allclose(
        F.auroc(preds, target, max_fpr=0.3), sklearn.roc_auc_score(target, preds, max_fpr=0.3), rtol=1e-6
    )
    np.testing.assert_allclose(
        F.auroc(scores, labels, num_classes=CLASSES), sklearn.roc_auc_score(labels, scores, multi_class="ovr"),
        rtol=1e-6)  # fmt: skip
    np.testing.assert_allclose(F.multiclass_auroc(scores, labels), F.auroc(scores, labels))
    ap = sklearn.average_precision_score(target, preds)
    np.testing.assert_allclose(F.average_precision(preds, target), ap, rtol=1e-6)
    np.testing.assert_allclose(F.average_precision(1 - preds, target, pos_label=0),
                               sklearn.average_precision_score(1 - target, 1 - preds), rtol=1e-6)  # fmt: skip
    several = F.average_precision(scores, labels, num_classes=CLASSES)
    assert isinstance(several, list)
    np.testing.assert_allclose(several[0], ap, rtol=1e-6)
    fpr, tpr, _ = F.roc(preds, target)
    np.testing.assert_allclose(F.auc(fpr, tpr), sklearn.roc_auc_score(target, preds), rtol=1e-6)
    for ours, theirs in zip(F.roc(preds, target)[:2],
                            sklearn.roc_curve(target, preds, drop_intermediate=False)[:2], strict=True):  # fmt: skip
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    curve = sklearn.precision_recall_curve(target, preds)
    for ours, theirs in zip(F.precision_recall_curve(preds, target), curve, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    assert len(F.multiclass_roc(scores, labels)) == CLASSES
    area = F.auc_decorator()(F.roc)
    np.testing.assert_allclose(area(preds, target), F.auroc(preds, target))
    assert F.multiclass_auc_decorator()(F.multiclass_roc)(scores, labels).shape == (CLASSES,)


def test_errors_of_numbers():
    preds, target = tensor([2.5, 0.0, 2.0, 8.0]), tensor([3.0, 0.5, 2.0, 7.0])
    np.testing.assert_allclose(F.r2score(preds, target), sklearn.r2_score(target, preds), rtol=1e-6)
    np.testing.assert_allclose(
        F.explained_variance(preds, target), sklearn.explained_variance_score(target, preds), rtol=1e-6
    )
    np.testing.assert_allclose(
        F.mean_squared_log_error(preds, target), sklearn.mean_squared_log_error(target, preds), rtol=1e-6
    )
    relative = (0.5 / 3 + 1 + 0 + 1 / 7) / 4
    np.testing.assert_allclose(F.mean_relative_error(preds, target), relative, rtol=1e-6)
    # A target of zero is divided by one.
    np.testing.assert_allclose(F.mean_relative_error(tensor([0.5]), tensor([0.0])), 0.5)


def test_images():
    images = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    others = images * 0.75
    assert F.ssim(images, images).item() == pytest.approx(1.0)
    assert 0 < F.ssim(others, images).item() < 1
    with pytest.raises(pl.ConfigurationError, match=r"kernel_size=\(5, 5\)"):
        F.ssim(images, others, kernel_size=(5, 5))
    error = (images - others).square().mean()
    ratio = 10 * torch.log10((images.max() - images.min()) ** 2 / error)
    np.testing.assert_allclose(F.psnr(others, images), ratio, rtol=1e-5)
    down, right = F.image_gradients(images)
    np.testing.assert_allclose(down[..., :-1, :], images[..., 1:, :] - images[..., :-1, :])
    assert right.shape == images.shape


def test_texts_and_similarity():
    said = ["the cat is on the mat"]
    references = [["there is a cat on the mat", "a cat is on the mat"]]
    assert shown(F.bleu_score(said, references)) == "tensor(0.7598)"
    of_words = F.bleu_score([said[0].split()], [[each.split() for each in references[0]]])
    assert shown(of_words) == "tensor(0.7598)"
    batch = tensor([[1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0], [4.0, 5.0, 6.0, 7.0]])
    similar = F.embedding_similarity(batch)
    np.testing.assert_allclose(similar, [[0, 1, 0.9759], [1, 0, 0.9759], [0.9759, 0.9759, 0]], atol=1e-4)
    dots = F.embedding_similarity(batch, "dot", zero_diagonal=False)
    np.testing.assert_allclose(dots, batch @ batch.T)


def test_what_is_wrong_is_said(scores: torch.Tensor, labels: torch.Tensor):
    for call, said in (
        (lambda: F.accuracy(scores, labels, 4), r"accuracy\(threshold=4\)"),
        (lambda: F.accuracy(scores[:10], labels), r"\(10, 4\).*do not fit targets of shape \(60,\)"),
        (lambda: F.accuracy(scores, labels.float()), "targets are torch.float32"),
        (lambda: F.precision(scores, labels, num_classes=3), "the predictions are of 4 classes"),
        (lambda: F.precision(scores, labels, average="mean"), "'mean' is no average"),
        (lambda: F.precision(labels, labels, top_k=2), r"precision\(top_k=2\)"),
        (lambda: F.precision(scores, labels, mdmc_average="macro"), "mdmc_average='macro'"),
        (lambda: F.auroc(scores[:, 0], labels % 2, sample_weights=[1.0] * 60), "sample_weights"),
        (lambda: F.psnr(scores, scores, dim=1), "give data_range"),
    ):
        with pytest.raises(pl.ConfigurationError, match=said):
            call()


def test_the_first_generation_imports_from_classification(scores: torch.Tensor, labels: torch.Tensor):
    assert classification.accuracy is F.accuracy
    assert classification.roc is F.roc
    np.testing.assert_array_equal(classification.to_categorical(scores), scores.argmax(1))
    assert classification.to_onehot(labels, 4).shape == (60, 4)
