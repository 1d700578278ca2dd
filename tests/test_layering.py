"""The folders are the architecture: imports point down only, and nobody pays for what is not used.

The walk reads the source: every import counts, also those inside functions, but not those for type
checkers only.
"""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ringroom

pytestmark = pytest.mark.once

ROOT = Path(ringroom.__file__).parent


def layers() -> list[list[str]]:
    """From the bottom up, as the package's docstring has them."""
    assert ringroom.__doc__ is not None
    _, found, text = ringroom.__doc__.partition("each importing only from itself and from those")
    assert found
    listing = text.partition(":")[2].partition("Names are loaded")[0]
    return [re.findall(r"\w+", layer) for layer in listing.split("<")]


RANK = {name: rank for rank, layer in enumerate(layers()) for name in layer}
# Only these may import the SDK.
SDK_USERS = ("ringroom.providers.livekit", "ringroom.testing")


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


class Imports(ast.NodeVisitor):
    """The names that a module imports, absolute."""

    def __init__(self, module: str, is_package: bool) -> None:
        self.package = module if is_package else module.rpartition(".")[0]
        self.found: set[str] = set()

    def visit_If(self, node: ast.If) -> None:
        if ast.unparse(node.test) not in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            self.generic_visit(node)
            return
        for child in node.orelse:
            self.visit(child)

    def visit_Import(self, node: ast.Import) -> None:
        self.found |= {alias.name for alias in node.names}

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = node.module or ""
        if node.level:
            parents = self.package.split(".")
            base = ".".join([*parents[: len(parents) - node.level + 1], *filter(None, [base])])
        for alias in node.names:
            inner = f"{base}.{alias.name}"
            self.found.add(inner if inner in MODULES else base)


@functools.cache
def imports_of(module: str) -> frozenset[str]:
    path = MODULES[module]
    visitor = Imports(module, path.name == "__init__.py")
    visitor.visit(ast.parse(path.read_text(), str(path)))
    return frozenset(visitor.found)


def ours(module: str) -> set[str]:
    """Those of our own modules that it imports."""
    return {name for name in imports_of(module) if name in MODULES} - {module, "ringroom"}


def layer(module: str) -> str:
    return module.split(".")[1]


PARTS = [module for module in MODULES if module != "ringroom"]


def test_every_module_has_its_layer() -> None:
    assert {layer(module) for module in PARTS} == set(RANK)


def test_imports_point_down() -> None:
    assert not [
        f"{module} imports {imported}"
        for module in PARTS
        for imported in ours(module)
        if RANK[layer(imported)] > RANK[layer(module)]
    ]


def test_there_is_no_circle() -> None:
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module in done:
            return
        for imported in sorted(ours(module)):
            visit(imported, (*path, module))
        done.add(module)

    for module in MODULES:
        visit(module, ())


def reachable(module: str) -> set[str]:
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        for imported in ours(waiting.pop()) - seen:
            seen.add(imported)
            waiting.append(imported)
    return seen


def test_the_roles_are_blind_to_each_other() -> None:
    io, worker = "ringroom.processes.io.serving", "ringroom.processes.worker.worker"
    for one, other in ((io, worker), (worker, io)):
        assert other not in reachable(one)


def test_only_its_provider_knows_the_sdk() -> None:
    assert not [
        f"{module} imports {name}"
        for module in PARTS
        if not module.startswith(SDK_USERS)
        for name in imports_of(module)
        if name.split(".")[0] == "livekit"
    ]


def test_the_ring_is_free_of_io() -> None:
    """Of the lanes, `memory` alone knows the operating system."""
    system = {"fcntl", "socket", "select", "selectors", "subprocess", "multiprocessing", "asyncio"}
    for module in PARTS:
        if layer(module) == "lanes" and module != "ringroom.lanes.memory":
            assert not imports_of(module) & system, module
    assert not imports_of("ringroom.lanes.ring") & {"os", "mmap", "time", "threading"}


def loaded_by(code: str) -> set[str]:
    """The top-level packages that a fresh interpreter has after that code."""
    show = "import sys\nprint(*sorted({name.split('.')[0] for name in sys.modules}))"
    command = [sys.executable, "-c", f"{code}\n{show}"]
    got = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(got.stdout.split())


def test_import_ringroom_is_light() -> None:
    loaded = loaded_by("import ringroom")
    assert not loaded & {"livekit", "asyncio", "numpy", "multiprocess", "dill", "soxr", "rich"}


@pytest.mark.parametrize("module", ["ringroom.pool", "ringroom.metrics", "ringroom.cli.running"])
def test_who_serves_no_metrics_does_without_their_package(module: str) -> None:
    assert "prometheus_client" not in loaded_by(f"import {module}")


def test_frames_and_lanes_load_no_event_loop() -> None:
    loaded = loaded_by("import ringroom.lanes.live, ringroom.lanes.reliable, ringroom.link")
    assert not loaded & {"livekit", "asyncio", "multiprocess", "dill", "soxr"}


def test_a_worker_loads_neither_the_sdk_nor_asyncio() -> None:
    assert not loaded_by("import ringroom.processes.worker.worker") & {"livekit", "asyncio"}


@pytest.mark.timeout(180)
def test_both_suites_may_be_run_at_once() -> None:
    """Their modules have names of their own."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    house = Path(__file__).parents[1]
    found = subprocess.run(
        [*command, "tests", "integration"], cwd=house, capture_output=True, text=True, timeout=170
    )
    assert found.returncode == 0, found.stdout[-2_000:] + found.stderr[-2_000:]
    for suite in ("tests/test_layering.py", "integration/test_server.py"):
        assert f"{suite}::" in found.stdout
