"""The room of older generations: names, paths and helpers that scripts import, over the rooms of the present ones.

Nothing outside of it knows an older name; without it there is a Trainer of the present names.

Older module paths (`functrain_torch.utilities.seed`) are files of their own, so that editors and type checkers find
them; `paths.py` says what each holds, and `python -m functrain_torch.compat` writes them.
"""
