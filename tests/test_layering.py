"""The folders are the architecture: imports point down only, and nobody pays for what is not used.

The walk reads the source: every import counts, also those inside functions, but not those for type
checkers only.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import ringroom

ROOT = Path(ringroom.__file__).parent

# From the bottom up; a module may import its own layer and those above it in this list.
LAYERS = (
    ("errors", "colour", "checks", "notices", "values"),
    ("checks",),
    ("options", "frames"),
    ("lanes",),
    ("messages", "link", "recording", "resampling"),
    ("providers", "processor", "accounts", "inbox", "session", "outgoing"),
    ("processes",),
    (
        "handover",
        "connection",
        "waiting",
        "face",
        "client",
        "aio",
        "pool_options",
        "mending",
        "pool",
    ),
    ("testing", "adapters"),
    ("cli", "pytest_plugin", "__main__"),
)
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
# Only these may import the SDK.
SDK_USERS = ("ringroom.providers.livekit", "ringroom.adapters", "ringroom.testing")


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


def imports_of(module: str) -> set[str]:
    path = MODULES[module]
    visitor = Imports(module, path.name == "__init__.py")
    visitor.visit(ast.parse(path.read_text(), str(path)))
    return visitor.found


OURS = {
    module: {name for name in imports_of(module) if name in MODULES} - {module, "ringroom"}
    for module in MODULES
}


def layer(module: str) -> str:
    return module.split(".")[1]


PARTS = [module for module in MODULES if module != "ringroom"]


@pytest.mark.parametrize("module", PARTS)
def test_imports_point_down(module: str) -> None:
    assert layer(module) in RANK, f"give {layer(module)!r} its place in LAYERS"
    for imported in OURS[module]:
        assert RANK[layer(imported)] <= RANK[layer(module)], f"{module} imports {imported}"


def test_there_is_no_circle() -> None:
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module in done:
            return
        for imported in sorted(OURS[module]):
            visit(imported, (*path, module))
        done.add(module)

    for module in sorted(OURS):
        visit(module, ())


def reachable(module: str) -> set[str]:
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        for imported in OURS[waiting.pop()] - seen:
            seen.add(imported)
            waiting.append(imported)
    return seen


def test_the_roles_are_blind_to_each_other() -> None:
    io, worker = "ringroom.processes.io", "ringroom.processes.worker"
    for one, other in ((io, worker), (worker, io)):
        if one in MODULES:
            assert other not in reachable(one)


@pytest.mark.parametrize("module", PARTS)
def test_only_its_provider_knows_the_sdk(module: str) -> None:
    if module.startswith(SDK_USERS):
        return
    assert not {name for name in imports_of(module) if name.split(".")[0] == "livekit"}


@pytest.mark.parametrize("module", [m for m in PARTS if layer(m) == "lanes"])
def test_the_ring_is_free_of_io(module: str) -> None:
    """`memory` is the one file that knows the operating system."""
    system = {"fcntl", "socket", "select", "selectors", "subprocess", "multiprocessing", "asyncio"}
    if module != "ringroom.lanes.memory":
        assert not imports_of(module) & system
    if module == "ringroom.lanes.ring":
        assert not imports_of(module) & {"os", "mmap", "time", "threading"}


def test_adapters_are_never_imported_by_the_core() -> None:
    for module in PARTS:
        if layer(module) not in ("adapters", "cli", "testing", "pytest_plugin"):
            assert not {name for name in OURS[module] if layer(name) == "adapters"}


def loaded_by(code: str) -> set[str]:
    """The top-level packages that a fresh interpreter has after that code."""
    show = "import sys\nprint(*sorted({name.split('.')[0] for name in sys.modules}))"
    command = [sys.executable, "-c", f"{code}\n{show}"]
    got = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(got.stdout.split())


def test_import_ringroom_is_light() -> None:
    loaded = loaded_by("import ringroom")
    assert not loaded & {"livekit", "asyncio", "numpy", "multiprocess", "dill", "soxr", "rich"}


def test_frames_and_lanes_load_no_event_loop() -> None:
    loaded = loaded_by("import ringroom.lanes.live, ringroom.lanes.reliable, ringroom.link")
    assert not loaded & {"livekit", "asyncio", "multiprocess", "dill", "soxr"}


def test_a_worker_loads_neither_the_sdk_nor_asyncio() -> None:
    if "ringroom.processes.worker" not in MODULES:
        pytest.skip("there is no worker yet")
    assert not loaded_by("import ringroom.processes.worker") & {"livekit", "asyncio"}
