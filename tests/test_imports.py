"""The modules of the four rooms import in one direction: no circle, however long.

That every floor imports only those below it is import-linter's part (setup.cfg, `make lint`).
"""

from graphlib import CycleError, TopologicalSorter

import grimp

ROOMS = ("faceid", "indexer", "training", "benchmarks")


def test_no_module_imports_itself_through_others() -> None:
    graph = grimp.build_graph(*ROOMS)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        raise AssertionError("a circle of imports: " + " <- ".join(error.args[1])) from None
