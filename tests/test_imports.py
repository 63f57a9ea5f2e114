"""The modules of the four rooms import in one direction: no circle, however long.

That every floor imports only those below it is import-linter's part (setup.cfg, `make lint`).
"""

import runpy
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[1]
ROOMS = ("faceid", "indexer", "training", "benchmarks")


def test_no_module_imports_itself_through_others() -> None:
    graph = grimp.build_graph(*ROOMS)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        raise AssertionError("a circle of imports: " + " <- ".join(error.args[1])) from None


def test_the_picture_of_the_floors_is_that_of_the_rules() -> None:
    floors = runpy.run_path(str(ROOT / "docs" / "floors.py"))
    assert floors["PICTURE"].read_text(encoding="utf-8") == floors["draw"](), "run `python docs/floors.py`"


def test_every_module_stands_on_a_floor() -> None:
    rooms, floors = runpy.run_path(str(ROOT / "docs" / "floors.py"))["rules"]()
    for room in rooms:
        modules = {
            path.stem for path in (ROOT / room).iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
        }
        assert modules - {"__init__"} == {module for floor in floors[room] for module in floor}, room
