"""What a prompt that is code defines besides the asked function."""

from __future__ import annotations

import ast

from stepcoder_dist.problems.assert_script import parse


def before_function(prompt: str, name: str) -> str:
    """Return the imports and helpers that precede the function in a prompt of HumanEval's kind."""
    try:
        tree = parse(prompt)
    except SyntaxError:
        return ""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            lines = prompt.replace("\r\n", "\n").split("\n")[: node.lineno - 1]
            before = "\n".join(lines).strip("\n")
            return before + "\n" if before else ""
    return ""


def parameters(source: str, name: str) -> tuple[str, ...]:
    """Return the names of a function's positional parameters, without `self`.

    `source` may end at the function's head, as starter code does. Empty where it has no such
    function, or does not parse.
    """
    for text in (source, source.rstrip() + " pass\n"):
        try:
            tree = parse(text)
        except SyntaxError:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node.name == name:
                names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
                return tuple(names[1:] if names[:1] == ["self"] else names)
    return ()
