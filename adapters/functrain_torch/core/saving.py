"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain.trainer.plain import load_hparams_yaml as load_hparams_from_yaml
from functrain.trainer.plain import load_tags_csv as load_hparams_from_tags_csv
from functrain.trainer.plain import save_hparams_yaml as save_hparams_to_yaml

__all__ = [
    "load_hparams_from_tags_csv",
    "load_hparams_from_yaml",
    "save_hparams_to_yaml",
]
