"""Asking for loaders again in the middle of a fit: what a hook calls when the data has changed."""

from __future__ import annotations

from typing import Any

from functrain.trainer.errors import ConfigurationError
from functrain.trainer.readable import Readable
from functrain.trainer.run import Run


class Resetting(Readable):
    """The methods of a Trainer that have it ask for loaders again.

    `model` is what older scripts give: the module of the run, which may be left out.
    """

    def reset_train_dataloader(self, model: Any = None) -> None:
        """Ask for the training loader again when the next epoch starts; the epoch under way goes on with its own.

        Raises:
            ConfigurationError: no fit is under way, or the model is another one.
        """
        run = self._fit_under_way("reset_train_dataloader", model)
        run.asks_again = run.found_source is not None

    def reset_val_dataloader(self, model: Any = None) -> None:
        """Ask for the validation loaders again at once: the next validation of the fit uses them.

        Raises:
            ConfigurationError: no fit is under way, or the model is another one.
        """
        run = self._fit_under_way("reset_val_dataloader", model)
        if run.found_source is not None:
            train, val = run.given
            run.val = run.loaders.validation(val, train)

    def reset_train_val_dataloaders(self, model: Any = None) -> None:
        """Ask for both again, as the two methods do.

        Raises:
            ConfigurationError: no fit is under way, or the model is another one.
        """
        self.reset_train_dataloader(model)
        self.reset_val_dataloader(model)

    def reset_test_dataloader(self, model: Any = None) -> None:
        """Do nothing: every test asks for its loaders when it begins.

        Raises:
            ConfigurationError: a test is under way, whose loaders stay.
        """
        self._not_within("test")

    def reset_predict_dataloader(self, model: Any = None) -> None:
        """Do nothing: every prediction asks for its loaders when it begins.

        Raises:
            ConfigurationError: a prediction is under way, whose loaders stay.
        """
        self._not_within("predict")

    def _fit_under_way(self, method: str, model: Any) -> Run:
        run = self.run
        if run is None or not self._busy or run.stage != "fit":
            raise ConfigurationError(
                f"trainer.{method}: no fit is under way, and each asks for its loaders when it begins; call it in a "
                "hook of a fit."
            )
        if model is not None and model is not run.module:
            raise ConfigurationError(
                f"trainer.{method}: this {type(model).__name__} is not the module of the fit; leave it out."
            )
        return run

    def _not_within(self, stage: str) -> None:
        if self._busy and self.stage == stage:
            raise ConfigurationError(
                f"trainer.reset_{stage}_dataloader: the loaders of a {stage} under way stay; call trainer.{stage}() "
                "again afterwards, which asks for them anew."
            )
