"""The faults: for a module's source every small change of one place, told apart by what it changes and where.

Left alone are words (strings), types, defaults of parameters, what a class declares (tables and fields), the points at
which proofs end a process, and the `strict` of a zip, which asserts and does nothing.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

OPERATORS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
    ast.Mod: ast.Mult,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
CALLS = {
    "min": "max",
    "max": "min",
    "any": "all",
    "all": "any",
    "is_": "is_not",
    "is_not": "is_",
    "desc": "asc",
    "in_": "not_in",
}


@dataclass(frozen=True)
class Mutant:
    """One change: in which function ("" outside of all), on which lines its statement is, and what it changes."""

    where: str
    lines: tuple[int, int]
    change: str
    statement: ast.stmt
    _holder: ast.AST
    _field: str
    _index: int | None
    _old: ast.AST
    _new: ast.AST

    def switch_on(self) -> None:
        """Make the change in the tree that it was found in."""
        self._put(self._new)

    def switch_off(self) -> None:
        """Take it back."""
        self._put(self._old)

    def _put(self, node: ast.AST) -> None:
        if self._index is None:
            setattr(self._holder, self._field, node)
        else:
            getattr(self._holder, self._field)[self._index] = node


def find(tree: ast.Module) -> list[Mutant]:
    """Return every change of a module, from its first line to its last."""
    return [mutant for number, _ in enumerate(tree.body) for mutant in _statement(tree, "body", number, "")]


def _statement(holder: ast.AST, field: str, index: int, where: str) -> Iterator[Mutant]:
    node = getattr(holder, field)[index]
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        name = f"{where}.{node.name}".strip(".")
        # A function inside a function belongs to the outer one: only that can be replaced as a whole.
        inner = where if where and _is_function(holder, where) else name
        for number, child in enumerate(node.body):
            if isinstance(node, ast.FunctionDef) or isinstance(child, ast.FunctionDef):
                yield from _statement(node, "body", number, inner)
        return
    if isinstance(node, (ast.Import, ast.ImportFrom)) or _is_words(node) or _is_failpoint(node):
        return
    for new in _instead_of_statement(node):
        yield _mutant(holder, field, index, new, statement=node, where=where)
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "exc", "cause"):
            continue
        children = enumerate(value) if isinstance(value, list) else [(None, value)]
        for number, child in children:
            if isinstance(child, ast.stmt):
                yield from _statement(node, name, number, where)
            elif isinstance(child, (ast.ExceptHandler, ast.match_case)):
                for inner_number, _ in enumerate(child.body):
                    yield from _statement(child, "body", inner_number, where)
            elif isinstance(child, ast.AST):
                yield from _expression(node, name, number, statement=node, where=where)


def _is_function(holder: ast.AST, where: str) -> bool:
    return isinstance(holder, ast.FunctionDef) and bool(where)


def _is_words(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_failpoint(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and ast.unparse(node).startswith("failpoints.hit(")


def _instead_of_statement(node: ast.stmt) -> Iterator[ast.AST]:
    if isinstance(node, ast.Raise) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
        yield ast.Pass()
    elif isinstance(node, ast.Continue):
        yield ast.Break()
    elif isinstance(node, ast.Return) and not isinstance(node.value, (ast.Constant, type(None))):
        yield ast.Return(ast.Constant(None))


def _expression(holder: ast.AST, field: str, index: int | None, *, statement: ast.stmt, where: str) -> Iterator[Mutant]:
    node = getattr(holder, field) if index is None else getattr(holder, field)[index]
    if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.keyword) and node.arg == "strict"):
        return
    for new in _instead_of(node):
        yield _mutant(holder, field, index, new, statement=statement, where=where)
    if isinstance(holder, (ast.If, ast.IfExp)) and field == "test":
        yield _mutant(holder, field, index, _negated(node), statement=statement, where=where)
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "ctx", "args") and isinstance(node, ast.Lambda):
            continue
        children = enumerate(value) if isinstance(value, list) else [(None, value)]
        for number, child in children:
            if isinstance(child, ast.AST):
                yield from _expression(node, name, number, statement=statement, where=where)


def _instead_of(node: ast.AST) -> Iterator[ast.AST]:
    if type(node) in OPERATORS:
        yield OPERATORS[type(node)]()
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub)):
        yield node.operand
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        yield ast.Constant(node.value + 1)
    elif isinstance(node, ast.Name) and node.id in CALLS:
        yield ast.Name(CALLS[node.id], node.ctx)
    elif isinstance(node, ast.Attribute) and node.attr in CALLS:
        yield ast.Attribute(node.value, CALLS[node.attr], node.ctx)


def _negated(node: ast.AST) -> ast.AST:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return ast.Constant(True)
    return ast.UnaryOp(ast.Not(), node)  # type: ignore[arg-type]


def _mutant(holder: ast.AST, field: str, index: int | None, new: ast.AST, *, statement: ast.stmt, where: str) -> Mutant:
    old = getattr(holder, field) if index is None else getattr(holder, field)[index]
    ast.fix_missing_locations(ast.copy_location(new, old if hasattr(old, "lineno") else statement))
    lines = (statement.lineno, _last_line_of_head(statement))
    mutant = Mutant(where, lines, "", statement, holder, field, index, old, new)
    before = _words(statement if new is not statement else old)
    mutant.switch_on()
    after = "pass" if isinstance(new, ast.Pass) else _words(new if old is statement else statement)
    mutant.switch_off()
    return Mutant(where, lines, f"{before}  ->  {after}", statement, holder, field, index, old, new)


def _last_line_of_head(statement: ast.stmt) -> int:
    """Return where a statement's own lines end, without those of the statements in it."""
    body = getattr(statement, "body", None)
    if isinstance(body, list) and body:
        return max(statement.lineno, body[0].lineno - 1)
    return statement.end_lineno or statement.lineno


def _words(node: ast.AST) -> str:
    text = ast.unparse(node)
    if isinstance(node, (ast.If, ast.For, ast.While, ast.With, ast.Try)):
        text = text.split("\n", 1)[0]
    return " ".join(text.split())
