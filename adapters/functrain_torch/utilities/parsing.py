"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain_torch.compat.parsing import AttributeDict as AttributeDict
from functrain_torch.compat.parsing import clean_namespace as clean_namespace
from functrain_torch.compat.parsing import flatten_dict as flatten_dict
from functrain_torch.compat.parsing import get_init_args as get_init_args
from functrain_torch.compat.parsing import is_picklable as is_picklable
from functrain_torch.compat.parsing import lightning_getattr as lightning_getattr
from functrain_torch.compat.parsing import lightning_hasattr as lightning_hasattr
from functrain_torch.compat.parsing import lightning_setattr as lightning_setattr
from functrain_torch.compat.parsing import save_hyperparameters as save_hyperparameters
from functrain_torch.compat.parsing import str_to_bool as str_to_bool
from functrain_torch.compat.parsing import str_to_bool_or_int as str_to_bool_or_int
from functrain_torch.compat.parsing import str_to_bool_or_str as str_to_bool_or_str

__all__ = [
    "AttributeDict",
    "clean_namespace",
    "flatten_dict",
    "get_init_args",
    "is_picklable",
    "lightning_getattr",
    "lightning_hasattr",
    "lightning_setattr",
    "save_hyperparameters",
    "str_to_bool",
    "str_to_bool_or_int",
    "str_to_bool_or_str",
]
