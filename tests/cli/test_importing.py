"""What a command does not import, that it is imported as usual when somebody asks for it, and that `import rhat` changes nothing."""

import gc
import importlib
import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

import rhat
from rhat.cli import importing

# What transformers imports for features that no command has.
UNUSED = (
    "torch._dynamo",
    "torch._inductor",
    "torch.distributed.tensor",
    "torch.distributed.fsdp",
    "torch.distributed.checkpoint",
    "scipy.optimize",
    "torchao",
    "boto3",
)

COMMAND = """
import json, sys
from rhat.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print(json.dumps(sorted(name for name, module in sys.modules.items() if type(module).__name__ != "_Later")))
assert [name for name, module in sys.modules.items() if type(module).__name__ == "_Later"] == ["torch._dynamo"]
"""

AFTERWARDS = """
import inspect, numpy, torch
import transformers
from transformers import masking_utils
from transformers.integrations import eager_paged
from transformers.loss import loss_for_object_detection as loss
first, second = loss.linear_sum_assignment(numpy.eye(2))
assert list(second) == [1, 0]
assert "scipy.optimize" in sys.modules and "torch._dynamo.config" not in sys.modules
assert list(inspect.signature(eager_paged.eager_paged_attention_forward).parameters)[:2] == ["module", "query"]
with masking_utils.TransformGetItemToIndex():
    pass
torch.nn.init.normal_(torch.empty(2, device="meta"))
import torch._dynamo, torch.distributed.tensor, torch.distributed.fsdp, torch.distributed.checkpoint
assert torch._dynamo.config.recompile_limit
assert torch._dynamo is sys.modules["torch._dynamo"] and torch._dynamo.__file__
assert torch.compile(lambda x: x + 1, backend="eager")(torch.ones(2)).tolist() == [2.0, 2.0]
assert torch.distributed.is_available() and gc.isenabled()
try:
    import torchao
except ImportError:
    pass
else:
    from torchao.prototype.safetensors.safetensors_support import flatten_tensor_state_dict
    assert callable(flatten_tensor_state_dict) and torchao.__file__
print("as usual")
"""

LIBRARY = """
import json, sys
import rhat
rhat.load(sys.argv[1])
from transformers.utils import is_torch_distributed_available
assert is_torch_distributed_available()
assert "rhat.cli" not in sys.modules
print(json.dumps(sorted(sys.modules)))
"""


def said_by(script: str, *arguments: str) -> list[str]:
    """The lines that a fresh Python process prints."""
    environment = os.environ | {"PYTHONPATH": str(Path(rhat.__file__).parents[1])}
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert not done.returncode, done.stderr
    return done.stdout.splitlines()


def test_a_command_imports_nothing_that_it_does_not_use_and_leaves_imports_as_they_were(folder, direction, tmp_path):
    prompt = tmp_path / "prompt.jsonl"
    prompt.write_text('{"text": "How do I boil an egg?"}\n')
    script = COMMAND + "import gc" + AFTERWARDS
    *rows, modules, last = said_by(script, "measure", "-m", folder, "-d", direction, prompt, "--format", "jsonl")
    assert json.loads(rows[-1])["projection"]
    assert "transformers.models.auto.modeling_auto" in json.loads(modules)
    assert not set(UNUSED) & set(json.loads(modules))
    assert last == "as usual"


def test_the_library_imports_transformers_as_everybody_does(folder):
    """So the rows of the tables are needed: by itself transformers imports each of these modules."""
    modules = json.loads(said_by(LIBRARY, folder)[-1])
    deferred = {*importing.FUNCTIONS, *importing.DECORATORS}
    installed = {name for name in deferred if importlib.util.find_spec(name.partition(".")[0])}
    assert installed <= set(modules)
    assert {"torch.distributed.tensor", "torch.distributed.fsdp", "torch.distributed.checkpoint"} <= set(modules)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (module, name)
        for table in (importing.FUNCTIONS, importing.DECORATORS)
        for module in table
        for name in table[module]
    ],
)
def test_every_deferred_name_exists(module, name):
    pytest.importorskip(module.partition(".")[0])
    assert callable(getattr(importlib.import_module(module), name))


@pytest.fixture
def late(tmp_path, monkeypatch):
    """A package `late` of this test, deferred as the tables say; gives the names of its modules that have been imported."""
    (tmp_path / "late").mkdir()
    (tmp_path / "late" / "__init__.py").write_text("")
    (tmp_path / "late" / "part.py").write_text("LIMIT = 3\ndef double(x):\n    return 2 * x\n")
    (tmp_path / "late" / "mark.py").write_text(
        "SIDE = 1\ndef mark(f, times=1):\n    return lambda *a: [f(*a)] * times\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(importing, "FUNCTIONS", {"late.part": ("double",)})
    monkeypatch.setattr(importing, "DECORATORS", {"late.mark": ("mark",)})
    importlib.import_module("late")
    yield lambda: [n for n, module in sys.modules.items() if n.startswith("late.") and hasattr(module, "__file__")]
    for name in [name for name in sys.modules if name.partition(".")[0] == "late"]:
        del sys.modules[name]
    sys.meta_path.remove(importing._Parts)


def test_a_deferred_function_works_when_it_is_called(late):
    with importing.deferred():
        from late.part import double
    assert late() == []
    assert double(4) == 8
    assert late() == ["late.part"]


def test_a_deferred_decorator_does_nothing_until_its_module_is_imported(late):
    with importing.deferred():
        from late.mark import mark

        @mark
        def one(x):
            """One."""
            return x

        @mark(times=2)
        def two(x):
            return x

    assert (one(5), two(6)) == (5, 6)
    assert (one.__name__, one.__doc__) == ("one", "One.")
    assert late() == []
    import late.mark

    assert late.mark.SIDE == 1
    assert late.mark is sys.modules["late.mark"]
    assert (one(5), two(6), two(7)) == ([5], [6, 6], [7, 7])


def test_another_name_imports_the_module_at_once(late):
    with importing.deferred():
        import late.part
        from late.part import LIMIT

        assert LIMIT == 3
        assert late.part.double(1) == 2
        assert late.part is sys.modules["late.part"]
        assert late.part.__file__


def test_a_part_of_a_deferred_module_imports_both_once(late, tmp_path, monkeypatch):
    (tmp_path / "late" / "package").mkdir()
    (tmp_path / "late" / "package" / "__init__.py").write_text("from late.package import part, other\n")
    for name in ("part", "other", "third"):
        text = "import late\nlate.RUN.append(__name__)\n"
        (tmp_path / "late" / "package" / f"{name}.py").write_text(text)
    monkeypatch.setattr(importing, "DECORATORS", {"late.package": ()})
    late_itself = importlib.import_module("late")
    late_itself.RUN = []
    with importing.deferred():
        import late.package.part
    import late.package.third

    assert late_itself.RUN == ["late.package.part", "late.package.other", "late.package.third"]
    assert late.package is sys.modules["late.package"]
    assert late.package.part is sys.modules["late.package.part"]
    assert late.package.part.__spec__.origin == late.package.part.__file__


def test_afterwards_the_module_is_imported_as_usual(late):
    with importing.deferred():
        import late.part
    import late.part

    assert late.part.__file__
    assert late.part.LIMIT == 3


def test_what_is_imported_already_is_left_alone(late):
    import late.part as before

    with importing.deferred():
        import late.part

        assert late.part is before
    assert sys.modules["late.part"] is before


def test_garbage_is_collected_again_even_after_an_error():
    with suppress(OSError), importing.collected_later():
        assert not gc.isenabled()
        raise OSError
    assert gc.isenabled()
    gc.unfreeze()
    gc.disable()
    try:
        with importing.collected_later():
            pass
        assert not gc.isenabled()  # as it was found
    finally:
        gc.enable()


@pytest.mark.parametrize(("plain", "watched"), [("", True), ("1", False)])
def test_it_can_be_turned_off(plain, watched, monkeypatch):
    monkeypatch.setattr(sys, "meta_path", [each for each in sys.meta_path if each is not importing.Watcher])
    monkeypatch.setenv("RHAT_PLAIN_IMPORTS", plain)
    importing.watch()
    assert (importing.Watcher in sys.meta_path) is watched
