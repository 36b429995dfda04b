"""Writes the files of the older paths, as `paths.py` says: `python -m functrain_torch.compat`."""

from __future__ import annotations

from pathlib import Path

from functrain_torch.compat.paths import PATHS, Names

ROOT = Path(__file__).parent.parent
MARK = "See `functrain_torch.compat.paths`."
"""Stands in every file that was written so, and in no other."""


def file_of(path: str) -> Path:
    """Return the file of an older path, relative to functrain_torch: a package where others are within it."""
    parts = path.split(".")
    is_package = any(other.startswith(f"{path}.") for other in PATHS)
    return Path(*parts, "__init__.py") if is_package else Path(*parts[:-1], f"{parts[-1]}.py")


def text_of(path: str, names: Names) -> str:
    """Return what stands in it."""
    lines = [f'"""An older path of modules. {MARK}"""', "", "# ruff: noqa", ""]
    places = sorted((*place.split(":"), name) for name, place in names.items())
    lines += [f"from {module} import {there} as {name}" for module, there, name in places]
    lines += ["", "__all__ = [", *(f'    "{name}",' for name in sorted(names)), "]"]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the files that are not there yet or say something else; remove those of paths that are no more."""
    wanted = {ROOT / file_of(path): text_of(path, names) for path, names in PATHS.items()}
    for file in ROOT.rglob("*.py"):
        if file not in wanted and file.read_text().partition("\n")[0].endswith(f'{MARK}"""'):
            file.unlink()
    for file, text in wanted.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists() or file.read_text() != text:
            file.write_text(text)


if __name__ == "__main__":
    main()
