"""All laws at once: the checks that apply to a module, and a table of what they have found."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple

from functrain.testing.accumulation import check_accumulation
from functrain.testing.gradients import check_gradients
from functrain.testing.leaks import check_no_leak
from functrain.testing.learning import check_loss_at_init, check_overfits
from functrain.testing.precision import check_precision
from functrain.testing.purity import check_pure
from functrain.testing.replicas import check_replicas
from functrain.testing.resuming import check_resume
from functrain.testing.tools import tools_of
from functrain.testing.verdict import NothingToCheck, OverBatch

PASSED, FAILED, LEFT_OUT = "passed", "FAILED", "left out"
COLUMNS = 80
"""So wide is the table."""
WITHOUT_FLAGS = ("check_no_leak",)


class Result(NamedTuple):
    """What became of one check.

    Attributes:
        check: its name.
        verdict: 'passed', 'FAILED' or 'left out'.
        why: what it said; "" where it passed.
        seconds: how long it took.
        error: what it raised, where it failed.
    """

    check: str
    verdict: str
    why: str
    seconds: float
    error: BaseException | None = None


def check_module(
    module: Any,
    batch: Any,
    *,
    loss_at_init: float | None = None,
    overfits: int | None = None,
    precision: Any = None,
    time_axis: int | None = None,
    replicas: int | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    leave_out: Collection[str] = (),
    print: Callable[[str], Any] = print,
    seed: int = 0,
    **flags: Any,
) -> list[Result]:
    """Run all checks that apply to a module, print a table of them, and name every law that is broken at the end.

    Args:
        loss_at_init: what the first loss is near to, such as log(classes); without it that is not checked.
        overfits: so many updates learn one batch; without it that is not checked.
        precision: 'bf16' or 16, at which the module is to learn the same; without it that is not checked.
        time_axis: of sequences, whose later steps are unknown to earlier ones.
        replicas: on so many devices a batch is as on one; without it that is not checked.
        options: further arguments of single checks, by their names: `{"check_no_leak": {"rtol": 1e-3}}`.
        leave_out: the names of checks that do not apply.
        print: is called with each line of the table.
        seed, flags: as every check takes them.

    Returns:
        What became of each check.

    Raises:
        AssertionError: at least one law is broken; has the message of each.
        TypeError, ValueError: the module is none, or a check is named that there is not.
    """
    tools_of(module)
    given = {name: dict(each) for name, each in (options or {}).items()}
    wished: dict[str, tuple[Callable[..., Any], dict[str, Any] | str]] = {
        "check_pure": (check_pure, {}),
        "check_gradients": (check_gradients, {}),
        "check_loss_at_init": (
            check_loss_at_init,
            "give loss_at_init=..., such as log(classes)" if loss_at_init is None else {"expected": loss_at_init},
        ),
        "check_accumulation": (check_accumulation, {}),
        "check_no_leak": (check_no_leak, {"time_axis": time_axis}),
        "check_resume": (check_resume, {}),
        "check_precision": (
            check_precision,
            "give precision=..., such as 'bf16'" if precision is None else {"precision": precision},
        ),
        "check_overfits": (
            check_overfits,
            "give overfits=..., a number of updates" if overfits is None else {"updates": overfits},
        ),
        "check_replicas": (
            check_replicas, "give replicas=..., a number of devices" if replicas is None else {"n": replicas},
        ),
    }  # fmt: skip
    unknown = sorted({*given, *leave_out} - wished.keys())
    if unknown:
        raise ValueError(f"check_module: there is no {unknown[0]!r}; the checks are {', '.join(wished)}.")
    results: list[Result] = []
    for name, (check, arguments) in wished.items():
        if name in leave_out:
            results.append(Result(name, LEFT_OUT, "as leave_out says", 0.0))
        elif isinstance(arguments, str) and name not in given:
            results.append(Result(name, LEFT_OUT, arguments, 0.0))
        else:
            known = {} if isinstance(arguments, str) else arguments
            kept = {} if name in WITHOUT_FLAGS else flags
            results.append(_result(name, check, module, batch, {"seed": seed, **kept, **known, **given.get(name, {})}))
    for line in _table(type(module).__name__, results):
        print(line)
    _raise_broken(type(module).__name__, results)
    return results


def _result(name: str, check: Callable[..., Any], module: Any, batch: Any, arguments: Mapping[str, Any]) -> Result:
    start = time.perf_counter()
    verdict, why, error = PASSED, "", None
    try:
        check(module, batch, **arguments)
    except (NothingToCheck, OverBatch) as nothing:
        verdict, why = LEFT_OUT, _message(name, nothing)
    except Exception as failed:
        verdict, why, error = FAILED, _message(name, failed), failed
    return Result(name, verdict, why, time.perf_counter() - start, error)


def _message(name: str, error: BaseException) -> str:
    kind = "" if isinstance(error, AssertionError | NothingToCheck) else f"{type(error).__name__}: "
    return f"{kind}{str(error).removeprefix(f'{name}: ')}"


def _table(module: str, results: Collection[Result]) -> Iterator[str]:
    width = max(len(each.check) for each in results)
    yield f"{module}:"
    for each in results:
        took = f"{each.seconds:6.1f} s" if each.verdict != LEFT_OUT or each.seconds else " " * 8
        verdict = f"  {each.check:<{width}}  {each.verdict:<8} {took}".rstrip()
        line = f"{verdict:<{width + 21}}  {each.why}".rstrip()
        if len(line) <= COLUMNS and "\n" not in line:
            yield line
        else:
            yield verdict
            for paragraph in each.why.splitlines():
                yield from textwrap.wrap(paragraph, COLUMNS, initial_indent=" " * 6, subsequent_indent=" " * 6)


def _raise_broken(module: str, results: Collection[Result]) -> None:
    broken = [each for each in results if each.verdict == FAILED]
    if broken:
        messages = "\n\n".join(f"{each.check}: {each.why}" for each in broken)
        raise AssertionError(
            f"check_module: {len(broken)} of {len(results)} laws do not hold for {module}.\n\n{messages}"
        ) from broken[0].error
