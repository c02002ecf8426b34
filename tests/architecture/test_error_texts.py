"""What users read when something fails: whole sentences, in all services alike."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from shared.errors import BY_CODE

ROOT = Path(__file__).parents[2]
ERRORS = {cls.__name__ for cls in BY_CODE.values()}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


class Text(NamedTuple):
    """Of an error; ``None`` for what is only known when it happens."""

    where: str
    begin: str | None
    end: str | None

    @property
    def is_a_sentence(self) -> bool:
        begins = self.begin is None or self.begin[0].isupper()
        return begins and (self.end is None or self.end.endswith((".", "?")))


def _edges(node: ast.expr) -> tuple[str | None, str | None] | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value:
        return node.value, node.value
    if isinstance(node, ast.JoinedStr) and node.values:
        ends = [
            each.value if isinstance(each, ast.Constant) and isinstance(each.value, str) else None
            for each in (node.values[0], node.values[-1])
        ]
        return ends[0], ends[1]
    return None


def _texts(path: Path) -> Iterator[Text]:
    tree = ast.parse(path.read_text())
    # A validator of a request says what is wrong in the same answers.
    wanted = ERRORS | ({"ValueError"} if "api/schemas" in str(path) else set())
    for scope in [tree, *(node for node in ast.walk(tree) if isinstance(node, FUNCTIONS))]:
        named = {
            node.targets[0].id: node.value
            for node in ast.walk(scope)
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        }
        for node in ast.walk(scope):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
                continue
            given = [*node.args, *(it.value for it in node.keywords if it.arg == "message")]
            if node.func.id not in {*wanted, "Failure"} or not given:
                continue
            text = named.get(given[0].id) if isinstance(given[0], ast.Name) else given[0]
            edges = _edges(text) if text is not None else None
            if edges is not None:
                yield Text(f"{path.relative_to(ROOT)}:{node.lineno}", *edges)


def test_every_error_is_told_in_sentences() -> None:
    texts = {
        text
        for folder in ("services", "shared")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for text in _texts(path)
    }
    assert len(texts) > len(ERRORS)
    assert {text for text in texts if not text.is_a_sentence} == set()
