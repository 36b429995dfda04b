"""Errors of numbers, images and texts, and similarities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torchmetrics.functional as of_torchmetrics
from torch import Tensor
from torchmetrics.functional.image import (
    image_gradients,
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)
from torchmetrics.functional.text import bleu_score as bleu_score_of_texts

from functrain.trainer.errors import ConfigurationError

mean_absolute_error = of_torchmetrics.mean_absolute_error
mean_squared_error = of_torchmetrics.mean_squared_error
mean_squared_log_error = of_torchmetrics.mean_squared_log_error
explained_variance = of_torchmetrics.explained_variance
r2score = of_torchmetrics.r2_score


def mean_relative_error(preds: Tensor, target: Tensor) -> Tensor:
    """Return the mean of the error divided by the target, or by one where that is zero."""
    divisor = torch.where(target == 0, torch.ones_like(target), target)
    return ((preds - target) / divisor).abs().mean()


def psnr(
    preds: Tensor,
    target: Tensor,
    data_range: float | None = None,
    base: float = 10.0,
    reduction: str = "elementwise_mean",
    dim: int | tuple[int, ...] | None = None,
) -> Tensor:
    """Return the peak signal-to-noise ratio, in decibels for base 10.

    Args:
        data_range: the range of the values; default: that of the target.
        dim: reduce over these dimensions, and the rest by `reduction`; needs `data_range`.
    """
    if data_range is None and dim is not None:
        raise ConfigurationError("psnr(dim=...): the range of the data is not that of a part of it; give data_range.")
    known = float(target.max() - target.min()) if data_range is None else float(data_range)
    how: Any = reduction
    return peak_signal_noise_ratio(preds, target, data_range=known, base=base, reduction=how, dim=dim)


def ssim(
    preds: Tensor,
    target: Tensor,
    kernel_size: Sequence[int] = (11, 11),
    sigma: Sequence[float] = (1.5, 1.5),
    reduction: str = "elementwise_mean",
    data_range: float | None = None,
    k1: float = 0.01,
    k2: float = 0.03,
) -> Tensor:
    """Return the structural similarity of images (batch, channels, height, width), by a Gaussian kernel.

    Args:
        kernel_size: must be what `sigma` makes of it, as torchmetrics derives it.
    """
    derived = [int(3.5 * each + 0.5) * 2 + 1 for each in sigma]
    if list(kernel_size) != derived:
        raise ConfigurationError(
            f"ssim(kernel_size={tuple(kernel_size)}): torchmetrics derives the size of a Gaussian kernel from sigma, "
            f"which makes {tuple(derived)} of sigma={tuple(sigma)}; leave it out or give that."
        )
    how: Any = reduction
    found = structural_similarity_index_measure(
        preds, target, sigma=tuple(sigma), reduction=how, data_range=data_range, k1=k1, k2=k2
    )
    assert isinstance(found, Tensor)
    return found


def bleu_score(
    translate_corpus: Sequence[Sequence[str]],
    reference_corpus: Sequence[Sequence[Sequence[str]]],
    n_gram: int = 4,
    smooth: bool = False,
) -> Tensor:
    """Return how near translations are to references, from 0 to 1.

    Args:
        translate_corpus: the translations, each a list of words or a string.
        reference_corpus: the references of each translation, written alike.
        n_gram: the longest sequence of words that counts.
        smooth: smooth the counts.
    """
    found = [_text(each) for each in translate_corpus]
    references = [[_text(each) for each in several] for several in reference_corpus]
    return bleu_score_of_texts(found, references, n_gram=n_gram, smooth=smooth)


def _text(words: Sequence[str]) -> str:
    return words if isinstance(words, str) else " ".join(words)


def embedding_similarity(
    batch: Tensor, similarity: str = "cosine", reduction: str = "none", zero_diagonal: bool = True
) -> Tensor:
    """Return how similar the rows of a batch are to each other.

    Args:
        similarity: 'cosine' or 'dot'.
        reduction: 'none', or 'mean' or 'sum' over the other rows.
        zero_diagonal: a row is not similar to itself.
    """
    calls = {
        "cosine": of_torchmetrics.pairwise_cosine_similarity,
        "dot": of_torchmetrics.pairwise_linear_similarity,
    }
    if similarity not in calls:
        raise ConfigurationError(f"embedding_similarity(similarity={similarity!r}): must be 'cosine' or 'dot'.")
    how: Any = reduction
    return calls[similarity](batch, reduction=how, zero_diagonal=zero_diagonal)


__all__ = [
    "bleu_score",
    "embedding_similarity",
    "explained_variance",
    "image_gradients",
    "mean_absolute_error",
    "mean_relative_error",
    "mean_squared_error",
    "mean_squared_log_error",
    "psnr",
    "r2score",
    "ssim",
]
