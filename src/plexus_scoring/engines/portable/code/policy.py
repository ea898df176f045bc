# ruff: noqa: N802, D102 - ast dispatches on the names of its node classes, and these say what is visited
"""Which Python a scorecard may contain, and where the guards go into it.

RestrictedPython decides what is refused: every access to an attribute goes through `_getattr_`, every write to one
through `_write_`, every loop through `_getiter_`, and a construct it does not know is an error. This policy differs
where real scorecards do: private helper names, annotations, ``counts[key] += 1``, ``nonlocal`` and ``match`` are
ordinary Python there. And it adds the guards that bound a run: a step in each loop and function, and bounded forms
of the operations that make large values.
"""

from __future__ import annotations

import ast
import re
from typing import Any, Final

from RestrictedPython.transformer import (
    ALLOWED_FUNC_NAMES,
    INSPECT_ATTRIBUTES,
    IOPERATOR_TO_STR,
    RestrictingNodeTransformer,
    copy_locations,
)

# `_getattr_`, `_tmp0`: the names that guards live under. Code may not read or bind any of them.
_RESERVED: Final = re.compile(r"^(_.*_|_tmp\d+|_print)$|__")
_READABLE: Final = frozenset({"__name__"})
_DEFINABLE: Final = frozenset(
    {*ALLOWED_FUNC_NAMES, "__len__", "__iter__", "__getitem__", "__repr__", "__str__", "__hash__"}
)
_BOUNDED_OPERATORS: Final = {
    ast.Add: "_add_",
    ast.Mult: "_multiply_",
    ast.Pow: "_power_",
    ast.Mod: "_modulo_",
    ast.LShift: "_shift_",
}
_BOUNDED_BUILTINS: Final = {"str": "_str_", "repr": "_repr_"}
_COMPARED_BY_VALUE: Final = (ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE)


class ScorecardPolicy(RestrictingNodeTransformer):
    """Refuses what a scorecard may not do; puts guards into what it may."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._bound: set[str] = set()

    def visit_Module(self, node: ast.Module) -> ast.AST:
        self._bound = {
            child.id
            for child in ast.walk(node)
            if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store)
        }
        return self.node_contents_visit(node)

    # Names

    def check_name(
        self,
        node: ast.AST,
        name: str | None,
        allow_magic_methods: bool = False,  # noqa: FBT001, FBT002 - RestrictedPython's signature
    ) -> None:
        if name is None or name == "_":
            return
        if allow_magic_methods and name in _DEFINABLE and getattr(node, "col_offset", 0) != 0:
            return
        if _RESERVED.search(name):
            self.error(node, f"the name {name!r} is reserved")

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if not (isinstance(node.ctx, ast.Load) and node.id in _READABLE):
            self.check_name(node, node.id)
        return self.node_contents_visit(node)

    def visit_Global(self, node: ast.Global) -> ast.AST:
        for name in node.names:
            self.check_name(node, name)
        return node

    def visit_Nonlocal(self, node: ast.Nonlocal) -> ast.AST:
        for name in node.names:
            self.check_name(node, name)
        return node

    # Attributes and items

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        readable = isinstance(node.ctx, ast.Load) and node.attr in _READABLE
        if (_RESERVED.search(node.attr) and not readable) or node.attr in INSPECT_ATTRIBUTES:
            self.error(node, f"the attribute {node.attr!r} is not accessible")
        node = self.node_contents_visit(node)
        if isinstance(node.ctx, ast.Load):
            return self._call("_getattr_", node, node.value, ast.Constant(node.attr))
        node.value = self._call("_write_", node.value, node.value)
        return node

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        # Items of the values that code can reach are the author's own: no proxy stands between.
        return self.node_contents_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        operator = ast.Constant(IOPERATOR_TO_STR[type(node.op)])
        if isinstance(node.target, ast.Name):
            self.check_name(node, node.target.id)
            read = ast.Name(node.target.id, ast.Load())
            # Not rewritten to an assignment: CPython appends to a text in place only here.
            node.value = self._call("_operand_", node, operator, read, self.visit(node.value))
            return node
        owner = self.visit(node.target.value)
        value = self.visit(node.value)
        if isinstance(node.target, ast.Subscript):
            key = self.visit(node.target.slice)
            return self._statement(
                ast.Expr(self._call("_inplace_item_", node, owner, key, operator, value)), node
            )
        if _RESERVED.search(node.target.attr):
            self.error(node, f"the attribute {node.target.attr!r} is not accessible")
        name = ast.Constant(node.target.attr)
        return self._statement(
            ast.Expr(self._call("_inplace_attribute_", node, owner, name, operator, value)), node
        )

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        return self.node_contents_visit(node)

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        node = self.node_contents_visit(node)
        if any(
            isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Slice)
            for target in node.targets
        ):  # `x[len(x):] = x` doubles x
            node.value = self._call("_spread_", node.value, node.value)
        return node

    # Operations that can make large values

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        node = self.node_contents_visit(node)
        guard = _BOUNDED_OPERATORS.get(type(node.op))
        return node if guard is None else self._call(guard, node, node.left, node.right)

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        node = self.node_contents_visit(node)
        by_value = all(isinstance(operator, _COMPARED_BY_VALUE) for operator in node.ops)
        plain = isinstance(node.left, ast.Constant) or any(
            isinstance(part, ast.Constant) for part in node.comparators
        )
        if by_value and not plain:
            node.left = self._call("_comparable_", node.left, node.left)
        return node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        parts: list[ast.expr] = []
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                spec = part.format_spec
                parts.append(
                    self._call(
                        "_format_",
                        part,
                        self.visit(part.value),
                        ast.Constant(part.conversion),
                        ast.Constant("") if spec is None else self.visit(spec),
                    )
                )
            else:
                parts.append(part)
        return self._call("_joined_", node, ast.Tuple(parts, ast.Load()))

    def visit_Starred(self, node: ast.Starred) -> ast.AST:
        node = self.node_contents_visit(node)
        if isinstance(node.ctx, ast.Load):
            node.value = self._call("_spread_", node.value, node.value)
        return node

    # Loops, functions, calls

    def guard_iter(self, node: ast.For | ast.comprehension) -> ast.AST:
        node = self.node_contents_visit(node)
        node.iter = self._call("_getiter_", node.iter, node.iter)
        return node

    def visit_While(self, node: ast.While) -> ast.AST:
        node = self.node_contents_visit(node)
        node.body.insert(0, self._step(node))
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.check_name(node, node.name, allow_magic_methods=True)
        self.check_function_argument_names(node)
        node = self.node_contents_visit(node)
        node.body.insert(0, self._step(node))
        return node

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        self.check_function_argument_names(node)
        node = self.node_contents_visit(node)
        stepped = ast.Tuple([self._call("_step_", node.body), node.body], ast.Load())
        body = ast.Subscript(stepped, ast.Constant(1), ast.Load())
        copy_locations(body, node.body)
        node.body = body
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if isinstance(node.func, ast.Name) and node.func.id in {"exec", "eval", "compile"}:
            self.error(node, f"{node.func.id}() is not allowed")
        node = self.node_contents_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id not in self._bound:
            node.func.id = _BOUNDED_BUILTINS.get(node.func.id, node.func.id)
        return node

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> ast.AST:
        node = self.node_contents_visit(node)
        self.check_name(node, node.name)
        if node.type is None:  # `except:` must not catch what stops the run
            node.type = ast.Name("_Exception_", ast.Load())
            copy_locations(node.type, node)
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        if node.module == "__future__":
            return node
        if node.level:
            self.error(node, "relative imports are not allowed")
        return self.check_import_names(node)

    # match

    def visit_Match(self, node: ast.Match) -> ast.AST:
        return self.node_contents_visit(node)

    def visit_match_case(self, node: ast.match_case) -> ast.AST:
        return self.node_contents_visit(node)

    def visit_MatchValue(self, node: ast.MatchValue) -> ast.AST:
        return self.node_contents_visit(node)

    def visit_MatchSingleton(self, node: ast.MatchSingleton) -> ast.AST:
        return node

    def visit_MatchSequence(self, node: ast.MatchSequence) -> ast.AST:
        return self.node_contents_visit(node)

    def visit_MatchOr(self, node: ast.MatchOr) -> ast.AST:
        return self.node_contents_visit(node)

    def visit_MatchAs(self, node: ast.MatchAs) -> ast.AST:
        self.check_name(node, node.name)
        return self.node_contents_visit(node)

    def visit_MatchStar(self, node: ast.MatchStar) -> ast.AST:
        self.check_name(node, node.name)
        return node

    def visit_MatchMapping(self, node: ast.MatchMapping) -> ast.AST:
        self.check_name(node, node.rest)
        return self.node_contents_visit(node)

    def visit_MatchClass(self, node: ast.MatchClass) -> ast.AST:
        # Its keywords read attributes past `_getattr_`, and a class's __match_args__ names some for positions.
        if node.kwd_attrs or node.patterns:
            self.error(node, "a class pattern with attributes is not allowed")
        return self.node_contents_visit(node)

    # Parts

    def _call(self, guard: str, place: ast.expr | ast.stmt, *args: ast.expr) -> ast.Call:
        call = ast.Call(func=ast.Name(guard, ast.Load()), args=list(args), keywords=[])
        copy_locations(call, place)
        return call

    def _statement(self, statement: ast.stmt, place: ast.stmt) -> ast.stmt:
        copy_locations(statement, place)
        return statement

    def _step(self, place: ast.stmt) -> ast.stmt:
        return self._statement(ast.Expr(self._call("_step_", place)), place)
