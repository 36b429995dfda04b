"""Every code block of the documents has a test that stands for it."""

import ast
from pathlib import Path

from tests.documents.blocks import COUNT


def stood_for():
    """Return (document, number) -> the tests that say that they stand for it."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(function, ast.FunctionDef):
                continue
            for call in function.decorator_list:
                if isinstance(call, ast.Call) and ast.unparse(call.func) == "stands_for":
                    for keyword in call.keywords:
                        given = ast.literal_eval(keyword.value)
                        for number in given if isinstance(given, tuple) else (given,):
                            found.setdefault((keyword.arg, number), []).append(f"{path.name}::{function.name}")
    return found


def test_every_block_has_its_test():
    blocks = {(document, number) for document, count in COUNT.items() for number in range(1, count + 1)}
    assert stood_for().keys() == blocks


def test_what_stands_for_a_block_is_a_test():
    tests = {test for several in stood_for().values() for test in several}
    assert len(tests) == len({test for test in tests if test.split("::")[1].startswith("test_")})
