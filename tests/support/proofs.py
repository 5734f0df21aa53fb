"""Tables that say which tests prove what: whether the tests that they name are there."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def gone(proofs: Iterable[str], folder: str) -> list[str]:
    """Those of `proofs` that do not exist: "file::test" in `folder` of tests/, or with a path from the root."""
    return [proof for proof in proofs if not _exists(proof, folder)]


def _exists(proof: str, folder: str) -> bool:
    file, _, name = proof.partition("::")
    path = ROOT / (file if "/" in file else f"tests/{folder}/{file}")
    return path.is_file() and name in _names_in(path)


@functools.cache
def _names_in(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text())
    return frozenset(
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    )
