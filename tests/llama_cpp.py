"""llama.cpp itself, through the C interface that the wheel of xllamacpp exports: its loader of control vectors, and logits.

Structures are passed as blocks of bytes that llama.cpp fills in: only it knows their fields. (On x86-64 Linux large
structures travel in memory, so a block that is longer than the structure does no harm.)
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

LOADER = "_Z26common_control_vector_loadRKSt6vectorI31common_control_vector_load_infoSaIS0_EE"


class Block(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_char * 1024)]


class LoadInfo(ctypes.Structure):
    _fields_ = [
        ("strength", ctypes.c_float),
        ("file", ctypes.c_char_p),
    ]  # std::string of the wheels' older ABI: one pointer


class CppVector(ctypes.Structure):
    _fields_ = [("begin", ctypes.c_void_p), ("end", ctypes.c_void_p), ("room", ctypes.c_void_p)]


class Loaded(ctypes.Structure):
    _fields_ = [("d_model", ctypes.c_int), ("data", CppVector)]


def library() -> ctypes.CDLL:
    """llama.cpp; the test is skipped where it is not installed or not laid out as above."""
    xllamacpp = pytest.importorskip("xllamacpp")
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        pytest.skip("llama.cpp's structures are known for x86-64 Linux only")
    lib = ctypes.CDLL(str(next(Path(xllamacpp.__file__).parent.glob("*.so"))))
    if not hasattr(lib, LOADER):
        pytest.skip("this build of llama.cpp does not export its loader of control vectors")
    for name in ("llama_model_default_params", "llama_context_default_params", "llama_batch_get_one"):
        getattr(lib, name).restype = Block
    for name in ("llama_model_load_from_file", "llama_init_from_model"):
        getattr(lib, name).restype = ctypes.c_void_p
    lib.llama_get_logits_ith.restype = ctypes.POINTER(ctypes.c_float)
    return lib


def control_vector(lib: ctypes.CDLL, file: Path, strength: float = 1.0) -> tuple[int, np.ndarray]:
    """The width and the buffer that llama.cpp's own loader makes of a file."""
    info = LoadInfo(strength, str(file).encode())
    start = ctypes.addressof(info)
    several = CppVector(start, start + ctypes.sizeof(info), start + ctypes.sizeof(info))
    loaded = Loaded()
    getattr(lib, LOADER)(ctypes.byref(loaded), ctypes.byref(several))
    assert loaded.d_model > 0, f"llama.cpp does not take {file}"
    size = (loaded.data.end - loaded.data.begin) // 4
    return loaded.d_model, np.ctypeslib.as_array((ctypes.c_float * size).from_address(loaded.data.begin)).copy()


class Model:
    """A model in llama.cpp, on one prompt at a time."""

    def __init__(self, lib: ctypes.CDLL, file: Path) -> None:
        self.lib = lib
        lib.llama_backend_init()
        self.model = lib.llama_model_load_from_file(str(file).encode(), lib.llama_model_default_params())
        assert self.model, file

    def logits(
        self, ids: Sequence[int], vector: tuple[int, np.ndarray] | None, n_layers: int, vocab: int
    ) -> np.ndarray:
        """Last logits, with a control vector at all layers that it has."""
        lib = self.lib
        context = ctypes.c_void_p(
            lib.llama_init_from_model(ctypes.c_void_p(self.model), lib.llama_context_default_params())
        )
        if vector is not None:
            width, buffer = vector
            data = buffer.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
            assert lib.llama_set_adapter_cvec(context, data, ctypes.c_size_t(buffer.size), width, 1, n_layers) == 0
        tokens = (ctypes.c_int32 * len(ids))(*ids)
        assert lib.llama_decode(context, lib.llama_batch_get_one(tokens, len(ids))) == 0
        got = np.ctypeslib.as_array(lib.llama_get_logits_ith(context, -1), (vocab,)).copy()
        lib.llama_free(context)
        return got
