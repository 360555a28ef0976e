"""Imports go down the layers, and heavy modules are imported where they are used."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import ctcrec

PACKAGE = Path(ctcrec.__file__).parent
LAYERS = {
    "errors": 0,
    "records": 1,
    **dict.fromkeys(("allocation", "config", "kernel_cache", "processes", "signals"), 2),
    **dict.fromkeys(("ctc", "decoding", "lm", "text", "scoring", "losses"), 3),
    **dict.fromkeys(("models", "data", "strategies", "compat"), 4),
    **dict.fromkeys(("speech", "ocr", "attention_strategies"), 5),
    **dict.fromkeys(("modalities", "corpora", "writers"), 6),
    **dict.fromkeys(("checkpoint", "clips", "pretrained", "provenance"), 7),
    **dict.fromkeys(("training", "recognizer"), 8),
    **dict.fromkeys(("checking", "diagnosis", "evaluation", "likelihoods", "model_card", "recipe", "tuning"), 9),
    "packing": 10,
    "cli": 11,
}
MATHEMATICS = {name for name, layer in LAYERS.items() if layer == 3}
EXCEPTIONS = {("decoding", "lm")}
HEAVY = {"torchaudio", "matplotlib", "tensorboard", "torch.utils.tensorboard"}
MODULES = sorted(PACKAGE.rglob("*.py"))


def imported(tree: ast.AST) -> list[tuple[int, str]]:
    """(line, dotted module) of every import anywhere in a module, also inside functions."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute"
            module = node.module or ""
            found += [(node.lineno, f"{module}.{a.name}" if module == "ctcrec" else module) for a in node.names]
    return found


def layer_faults(part: str, source: str) -> list[str]:
    """The imports of a module of `part` that do not go down the layers."""
    faults = []
    for line, module in imported(ast.parse(source)):
        names = module.split(".")
        if names[0] != "ctcrec" or len(names) < 2 or names[1] == part:
            continue
        other = names[1]
        assert other in LAYERS, f"line {line}: {other} is new: give it a layer"
        allowed = (part, other) in EXCEPTIONS or LAYERS[other] < LAYERS[part]
        if part in MATHEMATICS and other == "config":
            allowed = False  # the mathematics takes plain arguments
        if not allowed:
            faults.append(f"line {line}: {part} imports {module}")
    return faults


def top_level_faults(part: str, source: str) -> list[str]:
    """Heavy modules that are imported when the module is, and torchaudio outside speech."""
    tree = ast.parse(source)
    inside = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for child in ast.walk(node)
    }
    faults = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for line, module in imported(ast.Module([node], [])):
                heavy = any(module == name or module.startswith(name + ".") for name in HEAVY)
                if heavy and id(node) not in inside:
                    faults.append(f"line {line}: imports {module} outside a function")
                if module.split(".")[0] == "torchaudio" and part not in ("speech", "corpora"):
                    faults.append(f"line {line}: {part} imports torchaudio")
    return faults


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down(path: Path) -> None:
    part, source = part_of(path), path.read_text(encoding="utf-8")
    if part in ("__init__", "__main__"):
        return
    assert part in LAYERS, f"{part} is new: give it a layer"
    assert layer_faults(part, source) == []
    assert top_level_faults(part, source) == []


@pytest.mark.parametrize(
    ("part", "source"),
    [
        ("ctc", "from ctcrec.text import Normalizer"),
        ("lm", "from ctcrec.decoding import search"),
        ("ctc", "from ctcrec.config import Config"),
        ("data", "def f():\n    from ctcrec.speech import SpeechPreprocessor"),
        ("ocr", "import ctcrec.speech.media"),
        ("speech", "from ctcrec import ocr"),
        ("checkpoint", "from ctcrec.training import train"),
        ("training", "from ctcrec.recognizer import Recognizer"),
    ],
)
def test_finds_imports_that_go_up(part: str, source: str) -> None:
    assert len(layer_faults(part, source)) == 1


def test_finds_heavy_imports() -> None:
    assert len(top_level_faults("speech", "import torchaudio.functional")) == 1
    assert top_level_faults("speech", "def f():\n    import torchaudio") == []
    assert len(top_level_faults("ocr", "def f():\n    import torchaudio")) == 1
    assert len(top_level_faults("training", "from matplotlib.figure import Figure")) == 1


def loaded_after(code: str) -> set[str]:
    """The modules of a fresh Python after `code`."""
    script = f"{code}\nimport sys; print('modules:', *sys.modules)"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(result.stdout.rsplit("modules:", 1)[1].split())


def test_import_is_light() -> None:
    assert loaded_after("import ctcrec").isdisjoint({"torchaudio", "matplotlib", "torch", "numba"})


def test_help_is_light() -> None:
    code = (
        "import sys; sys.argv = ['ctcrec', '--help']\n"
        "from ctcrec.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code"
    )
    assert loaded_after(code).isdisjoint({"torchaudio", "matplotlib", "torch", "numba", "tensorboard"})


def test_using_the_package_needs_no_torchaudio() -> None:
    modules = loaded_after("import ctcrec\nctcrec.Recognizer, ctcrec.train, ctcrec.ctc_loss, ctcrec.load_config")
    assert "torch" in modules
    assert modules.isdisjoint({"torchaudio", "matplotlib"})


def test_greedy_decoding_needs_no_compiled_code() -> None:
    """Numba takes a third of a second to import, and loading a kernel takes longer."""
    code = (
        "import torch, ctcrec.recognizer\nfrom ctcrec.config import DecodingConfig\n"
        "from ctcrec.strategies import build_decode\nfrom ctcrec.text import CharTokenizer\n"
        "from pathlib import Path\n"
        "decode = build_decode(DecodingConfig(), CharTokenizer(['a']), Path())\n"
        "assert decode([torch.tensor([[-9.0, 0.0]])])[0].text == 'a'"
    )
    assert "numba" not in loaded_after(code)


def test_public_names_are_there() -> None:
    for name in ctcrec.__all__:
        assert getattr(ctcrec, name).__name__ == name
    assert set(ctcrec.__all__) <= set(dir(ctcrec))
    with pytest.raises(AttributeError, match="recognise"):
        ctcrec.recognise  # noqa: B018
