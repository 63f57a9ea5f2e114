"""What a process has one of and belongs to the program, not to a library it uses: the settings of a host, and a watch.

Nothing of ours is imported here: whoever watches what our import does begins with this.
"""

import decimal
import faulthandler
import gc
import importlib
import locale
import logging
import os
import random
import resource
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

Globals = dict[str, Any]

# Libraries that a program may use beside us, and whose settings are the process's.
LIBRARIES = ("cv2", "faiss", "numba", "PIL.Image", "PIL.ImageFile", "threadpoolctl", "torch")
_NOTHING = object()


class _Ignoring(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        """Keep nothing."""


def import_libraries() -> None:
    """Import what is installed of the libraries, as a program does that uses them itself."""
    for name in LIBRARIES:
        try:
            importlib.import_module(name)
        except ImportError:
            continue
        if name == "PIL.Image":
            sys.modules[name].init()


def settle_in() -> None:
    """Give what was imported, and Python, settings that nobody else would choose."""
    _settle_in_python()
    np.random.seed(11)
    np.set_printoptions(precision=3)
    np.seterr(over="warn", divide="warn", under="ignore", invalid="warn")
    for name, settle in _SETTLE.items():
        if name in sys.modules:
            settle(sys.modules[name])


def _settle_in_python() -> None:
    warnings.filterwarnings("error", category=BytesWarning)
    warnings.filterwarnings("always", message="of the host", category=UserWarning)
    warnings.showwarning = lambda *_arguments, **_options: None
    logging.root.handlers[:] = [_Ignoring()]
    logging.root.setLevel(logging.ERROR - 3)
    logging.getLogger("host").setLevel(7)
    os.environ["HOST"] = "of the program"
    gc.set_threshold(900, 11, 12)
    locale.setlocale(locale.LC_ALL, "C.UTF-8")
    signal.signal(signal.SIGTERM, lambda *_arguments: sys.exit(3))
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    sys.setswitchinterval(0.004)
    sys.setrecursionlimit(3_000)
    socket.setdefaulttimeout(77.0)
    random.seed(11)


def _settle_in_torch(torch: Any) -> None:
    torch.set_num_threads(3)
    torch.manual_seed(11)
    torch.set_default_dtype(torch.float64)
    torch.set_float32_matmul_precision("high")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True


def _settle_in_pillow(image: Any) -> None:
    image.MAX_IMAGE_PIXELS = 12_345  # fewer than a drawn photo has


def _settle_in_pillow_files(files: Any) -> None:
    files.LOAD_TRUNCATED_IMAGES = True


_SETTLE: dict[str, Callable[[Any], None]] = {
    "cv2": lambda cv2: cv2.setNumThreads(3),
    "faiss": lambda faiss: faiss.omp_set_num_threads(3),
    "PIL.Image": _settle_in_pillow,
    "PIL.ImageFile": _settle_in_pillow_files,
    "torch": _settle_in_torch,
}


def watch() -> Callable[[], Globals]:
    """Return a function that reads the globals of Python and of what is imported now; `changes` compares two readings.

    The readings' names are those of `OF_PYTHON`, and those of `OF_LIBRARIES` whose library is imported.
    """
    modules = dict(sys.modules)
    readers = {name: read for name, (library, read) in _READERS.items() if library in modules}
    pools = {pool["filepath"] for pool in _pools(modules["threadpoolctl"])} if "threadpoolctl" in modules else set()

    def read() -> Globals:
        found = {name: read() for name, read in readers.items()}
        found["sys.modules that were there"] = {name: id(sys.modules.get(name, _NOTHING)) for name in modules}
        if pools:
            found["threads of BLAS and OpenMP"] = sorted(
                (pool["filepath"], pool["num_threads"])
                for pool in _pools(modules["threadpoolctl"])
                if pool["filepath"] in pools
            )
        return found

    return read


def changes(before: Globals, after: Globals) -> dict[str, str]:
    """Return for each global that is not as it was what it was and what it is, in words."""
    return {name: _difference(value, after[name]) for name, value in before.items() if value != after[name]}


def _difference(before: Any, after: Any) -> str:
    if isinstance(before, dict) and isinstance(after, dict):
        keys = [key for key in {**before, **after} if before.get(key, _NOTHING) != after.get(key, _NOTHING)]
        before, after = {key: before.get(key) for key in keys}, {key: after.get(key) for key in keys}
    return f"{before!r:.600} became {after!r:.600}"


def _pools(threadpoolctl: Any) -> list[dict[str, Any]]:
    pools: list[dict[str, Any]] = threadpoolctl.threadpool_info()
    return pools


def _mask_of_new_files() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _in_new_thread(read: Callable[[], Any]) -> Any:
    """Return what a thread that begins now sees: some settings are copied into each."""
    seen: list[Any] = []
    thread = threading.Thread(target=lambda: seen.append(read()))
    thread.start()
    thread.join()
    return seen[0]


def _denormals() -> bool:
    return bool(np.float32(1e-40) * np.ones(1, np.float32)[0] != 0) and 5e-324 * float(np.ones(1)[0]) != 0


def _torch() -> Any:
    return sys.modules["torch"]


def _cv2() -> Any:
    return sys.modules["cv2"]


def _pillow() -> Any:
    return sys.modules["PIL.Image"]


def _faiss() -> Any:
    return sys.modules["faiss"]


_PYTHON: dict[str, Callable[[], Any]] = {
    "warnings.filters": lambda: list(warnings.filters),
    "warnings.showwarning": lambda: warnings.showwarning,
    "handlers of the root logger": lambda: list(logging.root.handlers),
    "level of the root logger": lambda: (logging.root.level, logging.root.manager.disable, logging.raiseExceptions),
    "level of the host's logger": lambda: logging.getLogger("host").getEffectiveLevel(),
    "class of loggers and records": lambda: (logging.getLoggerClass(), logging.getLogRecordFactory()),
    "os.environ": lambda: dict(os.environ),
    "working directory": os.getcwd,
    "mask of new files": _mask_of_new_files,
    "resource limits": lambda: [resource.getrlimit(one) for one in (resource.RLIMIT_AS, resource.RLIMIT_NOFILE)],
    "gc": lambda: (gc.isenabled(), gc.get_threshold(), gc.get_debug(), gc.get_freeze_count()),
    "locale": lambda: locale.setlocale(locale.LC_ALL),
    "signal handlers": lambda: {one.name: signal.getsignal(one) for one in signal.valid_signals() if _is_named(one)},
    "faulthandler": faulthandler.is_enabled,
    "exception hooks": lambda: (sys.excepthook, threading.excepthook, sys.unraisablehook, sys.displayhook),
    "tracing": lambda: (sys.gettrace(), sys.getprofile()),
    "switch interval": sys.getswitchinterval,
    "recursion limit": sys.getrecursionlimit,
    "stack of new threads": threading.stack_size,
    "time limit of sockets": socket.getdefaulttimeout,
    "sys.path": lambda: (id(sys.path), list(sys.path)),
    "standard streams": lambda: (sys.stdin, sys.stdout, sys.stderr),
    "decimal context": lambda: repr(decimal.getcontext()),
    "random state": random.getstate,
    "numpy random state": lambda: repr(np.random.get_state()),
    "numpy errors": lambda: (np.geterr(), _in_new_thread(np.geterr)),
    "numpy printing": np.get_printoptions,
    "denormal numbers": lambda: (_denormals(), _in_new_thread(_denormals)),
}
_OF_LIBRARIES: dict[str, tuple[str, Callable[[], Any]]] = {
    "torch threads": ("torch", lambda: (_torch().get_num_threads(), _torch().get_num_interop_threads())),
    "torch threads of a new thread": ("torch", lambda: _in_new_thread(_torch().get_num_threads)),
    "torch random state": ("torch", lambda: _torch().get_rng_state().tolist()),
    "torch default dtype": ("torch", lambda: _torch().get_default_dtype()),
    "torch gradients": ("torch", lambda: (_torch().is_grad_enabled(), _in_new_thread(_torch().is_grad_enabled))),
    "torch deterministic algorithms": ("torch", lambda: _torch().are_deterministic_algorithms_enabled()),
    "torch precision of products": ("torch", lambda: _torch().get_float32_matmul_precision()),
    "torch cudnn flags": (
        "torch",
        lambda: {
            name: getattr(_torch().backends.cudnn, name)
            for name in ("enabled", "benchmark", "deterministic", "allow_tf32")
        },
    ),
    "PIL.Image.MAX_IMAGE_PIXELS": ("PIL.Image", lambda: _pillow().MAX_IMAGE_PIXELS),
    "PIL formats": ("PIL.Image", lambda: (sorted(_pillow().OPEN), list(_pillow().ID))),
    "PIL.ImageFile.LOAD_TRUNCATED_IMAGES": (
        "PIL.ImageFile",
        lambda: sys.modules["PIL.ImageFile"].LOAD_TRUNCATED_IMAGES,
    ),
    "cv2 threads": ("cv2", lambda: _cv2().getNumThreads()),
    "cv2 flags": ("cv2", lambda: (_cv2().useOptimized(), _cv2().ocl.useOpenCL(), _cv2().utils.logging.getLogLevel())),
    "faiss threads": ("faiss", lambda: _faiss().omp_get_max_threads()),
    "faiss settings": (
        "faiss",
        lambda: {
            name: getattr(_faiss().cvar, name)
            for name in dir(_faiss().cvar)
            if name.startswith("distance_compute") or name.endswith("batch_size")
        },
    ),
    "numba threads": ("numba", lambda: sys.modules["numba"].config.NUMBA_NUM_THREADS),
}


def _is_named(number: int) -> bool:
    return isinstance(number, signal.Signals)


_READERS = {**{name: ("sys", read) for name, read in _PYTHON.items()}, **_OF_LIBRARIES}
OF_PYTHON = (*_PYTHON, "sys.modules that were there")
OF_LIBRARIES = (*_OF_LIBRARIES, "threads of BLAS and OpenMP")
