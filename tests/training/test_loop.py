"""Training as a whole, through `ctcrec.training.train`: exact resuming, accumulation, bad batches, stopping, saving."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import draw_text, make_texts, tiny_config, train_quietly, write_corpus

import ctcrec.checkpoint
from ctcrec.checkpoint import load_checkpoint, read_tensors
from ctcrec.config import Config
from ctcrec.data.manifest import read_manifest, write_manifest
from ctcrec.errors import CheckpointError, ConfigError, MediaError, TrainingError
from ctcrec.modalities import build_preprocessor
from ctcrec.ocr.preprocessor import LinePreprocessor
from ctcrec.records import Example
from ctcrec.speech.preprocessor import SpeechPreprocessor
from ctcrec.training import train

if TYPE_CHECKING:
    from conftest import Trained

TIMINGS = {"frames_per_second", "data_wait", "seconds"}
ROUGH = {  # everything random at once, so that resuming must restore all of it
    "ocr": {"augmentation__noise_probability": 0.5, "augmentation__affine_probability": 0.5},
    "speech": {"augmentation__time_masks": 1, "augmentation__gain_db": 3.0},
}
DROPOUT = {"model__frontend__dropout": 0.2, "model__encoder__dropout": 0.2}


@pytest.fixture(autouse=True)
def _no_drawing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Curves take as long as the training of these models; the one test that looks at them draws them."""
    if "curves" not in request.node.name:
        monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda *_, **__: None)


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten lines."""
    return write_corpus(tmp_path_factory.mktemp("lines"), "ocr", make_texts(10))


@pytest.fixture(scope="module")
def manifests(lines: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Ten lines and ten utterances."""
    return {"ocr": lines, "speech": write_corpus(tmp_path_factory.mktemp("speech"), "speech", make_texts(10))}


def rows_of(run: Path, kind: str | None = None) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl without what depends on the clock."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in TIMINGS} for row in rows if kind in (None, row["kind"])]


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    return read_tensors(path)[0]


def assert_same_tensors(first: Path, second: Path) -> None:
    ours, theirs = weights_of(first), weights_of(second)
    assert ours.keys() == theirs.keys()
    different = [name for name in ours if not torch.equal(ours[name], theirs[name])]
    assert different == []


def assert_same_run(first: Path, second: Path) -> None:
    """Weights, optimizer, averages, generators and logged numbers are equal bit by bit."""
    assert_same_tensors(first / "model.safetensors", second / "model.safetensors")
    assert_same_tensors(first / "state.safetensors", second / "state.safetensors")
    assert rows_of(first) == rows_of(second)


def stopped(config: Config, out: Path, steps: int, resume: bool = True) -> None:
    with pytest.raises(TrainingError, match=rf"stopped after step \d+; go on with --resume {out}"):
        train_quietly(config, out, resume=resume, stop_after_steps=steps)


# ── resuming ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("modality", "options"),
    [
        ("ocr", {"training__schedule": "cosine"}),
        ("speech", {"training__average": "ema", "training__ema_decay": 0.9}),
        ("ocr", {"training__average": "best", "training__average_best": 2}),
        ("speech", {"training__schedule": "plateau", "training__plateau_patience": 1}),
        ("ocr", {"training__accumulation": 2, "features__normalization": "global"}),
    ],
    ids=["plain", "ema", "best", "plateau", "accumulation-global"],
)
def test_resuming_equals_never_stopping(
    modality: str, options: dict[str, Any], manifests: dict[str, Path], tmp_path: Path
) -> None:
    config = tiny_config(
        modality, manifests[modality], training__epochs=3, **options, **ROUGH[modality], **DROPOUT,
        training__max_batch_size=3,
    )  # fmt: skip
    train_quietly(config, tmp_path / "whole")
    steps = len(rows_of(tmp_path / "whole", "step"))
    per_epoch = steps // 3
    assert per_epoch >= 2
    parts = tmp_path / "parts"
    stopped(config, parts, 1, resume=False)  # within the first epoch
    stopped(config, parts, per_epoch - 1)  # after its last step, before its validation
    stopped(config, parts, per_epoch + 1)  # within the third
    train_quietly(config, parts, resume=True)
    assert_same_run(tmp_path / "whole", parts)


def test_an_epoch_that_ends_again_is_logged_once(lines: Path, tmp_path: Path) -> None:
    config = tiny_config("ocr", lines, training__epochs=2)
    train_quietly(config, tmp_path / "whole")
    per_epoch = len(rows_of(tmp_path / "whole", "step")) // 2
    stopped(config, tmp_path / "killed", per_epoch, resume=False)
    whole = (tmp_path / "whole/metrics.jsonl").read_text().splitlines()
    with (tmp_path / "killed/metrics.jsonl").open("a") as log:  # killed after the epoch's row, before the next state
        log.write(whole[per_epoch] + "\n")
    train_quietly(config, tmp_path / "killed", resume=True)
    assert rows_of(tmp_path / "killed") == rows_of(tmp_path / "whole")


def test_a_kill_loses_only_the_steps_since_the_last_checkpoint(
    lines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config("ocr", lines, training__epochs=3, **DROPOUT, **ROUGH["ocr"])
    train_quietly(config, tmp_path / "whole")
    per_epoch = len(rows_of(tmp_path / "whole", "step")) // 3
    with monkeypatch.context() as patch:
        calls = iter(range(1000))

        def killed(*args: Any, **kwargs: Any) -> torch.Tensor:
            if next(calls) == per_epoch + 1:
                raise RuntimeError("killed")
            return original(*args, **kwargs)

        original = torch.nn.utils.clip_grad_norm_
        patch.setattr(torch.nn.utils, "clip_grad_norm_", killed)
        with pytest.raises(RuntimeError, match="killed"):
            train_quietly(config, tmp_path / "killed")
    told = train_quietly(config, tmp_path / "killed", resume=True)[1]
    assert f"going on from epoch 2, step {per_epoch}" in told
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


def test_checkpoints_within_an_epoch(lines: Path, tmp_path: Path) -> None:
    """With `checkpoint_minutes` near zero a kill loses at most one step."""
    config = tiny_config("ocr", lines, training__epochs=1, training__checkpoint_minutes=1e-9)
    out = tmp_path / "run"
    original = torch.nn.utils.clip_grad_norm_
    calls = iter(range(1000))

    def killed(*args: Any, **kwargs: Any) -> torch.Tensor:
        if next(calls) == 2:
            raise RuntimeError("killed")
        return original(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.utils, "clip_grad_norm_", killed)
        with pytest.raises(RuntimeError, match="killed"):
            train_quietly(config, out)
    assert "going on from epoch 1, step 2" in train_quietly(config, out, resume=True)[1]


def test_ctrl_c_saves_after_the_running_step(lines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_config("ocr", lines, training__epochs=2, **DROPOUT)
    train_quietly(config, tmp_path / "whole")
    original, handler = torch.nn.utils.clip_grad_norm_, signal.getsignal(signal.SIGINT)

    def interrupted(*args: Any, **kwargs: Any) -> torch.Tensor:
        os.kill(os.getpid(), signal.SIGINT)
        return original(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(torch.nn.utils, "clip_grad_norm_", interrupted)
        with pytest.raises(TrainingError, match="stopped after step 1; go on with --resume"):
            train_quietly(config, tmp_path / "parts")
    assert signal.getsignal(signal.SIGINT) is handler  # the default one, or ignored in a shell's background
    train_quietly(config, tmp_path / "parts", resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_processes_ends_training_with_its_state_saved(
    lines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    config = tiny_config("ocr", lines, training__epochs=1, training__workers=1)
    original, workers = torch.nn.utils.clip_grad_norm_, []

    def stopped(*args: Any, **kwargs: Any) -> torch.Tensor:
        [worker] = multiprocessing.active_children()
        assert worker.pid is not None
        subprocess.run(["kill", f"-{number.value}", str(worker.pid), str(os.getpid())], check=True)
        time.sleep(1.0)  # a worker that dies is noticed
        workers.append(worker)
        return original(*args, **kwargs)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", stopped)
    with pytest.raises(TrainingError, match="stopped after step 1; go on with --resume"):
        train_quietly(config, tmp_path / "run")
    _, metadata = read_tensors(tmp_path / "run" / "state.safetensors")
    assert json.loads(metadata["progress"])["step"] == 1
    for worker in workers:
        worker.join(20.0)
        assert not worker.is_alive()


def test_a_finished_run_stays_finished(lines: Path, tmp_path: Path) -> None:
    config = tiny_config("ocr", lines, training__epochs=1)
    first, _ = train_quietly(config, tmp_path / "run")
    weights = (tmp_path / "run" / "model.safetensors").read_bytes()
    again, _ = train_quietly(config, tmp_path / "run", resume=True)
    assert (again.cer, again.epochs) == (first.cer, first.epochs)
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == weights


def test_resuming_is_refused_where_it_would_not_be_exact(lines: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "train.jsonl"
    write_manifest(manifest, read_manifest(lines))
    config = tiny_config("ocr", manifest, training__epochs=2)
    out = tmp_path / "run"
    with pytest.raises(TrainingError, match="nothing to resume; train without --resume"):
        train_quietly(config, out, resume=True)
    stopped(config, out, 1, resume=False)
    with pytest.raises(TrainingError, match=r"config\.yaml differs .* or start a new run with another --out"):
        train_quietly(tiny_config("ocr", manifest, training__epochs=2, training__weight_decay=0.5), out, resume=True)
    with pytest.raises(TrainingError, match="holds a run already; go on with --resume"):
        train_quietly(config, out)
    write_manifest(manifest, read_manifest(lines)[:-1])
    with pytest.raises(TrainingError, match="manifests differ .*; restore them, or start a new run"):
        train_quietly(config, out, resume=True)


def test_same_seed_same_weights_with_any_number_of_workers(lines: Path, tmp_path: Path) -> None:
    options = {"training__epochs": 1, **DROPOUT, **ROUGH["ocr"]}
    train_quietly(tiny_config("ocr", lines, **options), tmp_path / "none")
    train_quietly(tiny_config("ocr", lines, **options, training__workers=2), tmp_path / "two")
    assert_same_tensors(tmp_path / "none" / "model.safetensors", tmp_path / "two" / "model.safetensors")
    train_quietly(tiny_config("ocr", lines, **options, seed=4), tmp_path / "other")
    assert rows_of(tmp_path / "none", "step") != rows_of(tmp_path / "other", "step")


# ── what it learns ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_overfitting_reaches_a_loss_near_zero(trained: Trained) -> None:
    assert trained.summary.overfitted is True
    assert trained.summary.train_loss <= 0.05
    assert trained.summary.cer == trained.summary.wer == 0.0
    assert "near zero: the model can learn these examples" in trained.told
    assert "NOT as expected" not in trained.told and ": as expected" in trained.told


def test_overfitting_says_when_it_did_not_get_there(lines: Path, tmp_path: Path) -> None:
    summary, told = train_quietly(tiny_config("ocr", lines, training__epochs=1), tmp_path / "run", overfit=4)
    assert summary.overfitted is False
    assert "NOT near zero" in told
    assert "4 training and 4 validation examples" in told


def same_width_lines(folder: Path) -> Path:
    """Eight lines of one width, so that batches of four and of eight hold the same examples, with unlike targets."""
    texts = ["ab cd", "a", "abcdabcd", "b", "cd ab", "d", "dcbadcba", "c"]
    examples = []
    for index, text in enumerate(texts):
        image = np.full((16, 80), 250, dtype=np.uint8)
        drawn = draw_text(text)
        image[:, : drawn.shape[1]] = drawn
        path = folder / f"{index}.png"
        Image.fromarray(image).save(path)
        examples.append(Example(str(index), path, text, width=80, height=16))
    write_manifest(folder / "train.jsonl", examples)
    return folder / "train.jsonl"


def test_two_accumulated_batches_of_four_equal_one_of_eight(tmp_path: Path) -> None:
    manifest = same_width_lines(tmp_path)
    options = {"model__frontend__normalization": "none", "training__epochs": 4, "training__learning_rate": 1e-3}
    one = tiny_config("ocr", manifest, training__max_batch_size=8, **options)
    two = tiny_config("ocr", manifest, training__max_batch_size=4, training__accumulation=2, **options)
    train_quietly(one, tmp_path / "one")
    train_quietly(two, tmp_path / "two")
    rows = [rows_of(tmp_path / name, "step") for name in ("one", "two")]
    assert len(rows[0]) == len(rows[1]) == 4
    for first, second in zip(*rows, strict=True):
        for name in ("loss", "gradient_norm", "learning_rate"):
            assert first[name] == pytest.approx(second[name], rel=1e-4)
    ours, theirs = (weights_of(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=0, atol=2e-5)


def test_what_a_run_leaves_behind_with_curves(lines: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    summary, told = train_quietly(tiny_config("ocr", lines, training__epochs=2), out)
    assert summary.directory == out and summary.epochs == 2 and summary.seconds > 0
    epochs = rows_of(out, "epoch")
    assert [row["epoch"] for row in epochs] == [1, 2]
    assert {"train_loss", "valid_loss", "cer", "wer", "blank_rate", "learning_rate", "padding"} <= epochs[0].keys()
    steps = rows_of(out, "step")
    assert [row["step"] for row in steps] == list(range(1, len(steps) + 1))
    assert all(np.isfinite(row["loss"]) and np.isfinite(row["gradient_norm"]) for row in steps)
    with Image.open(out / "curves.png") as image:
        assert image.format == "PNG"
    assert list((out / "tensorboard").glob("events*"))
    assert not list(out.rglob("*.tmp")) and not list(out.glob(".new-*"))
    assert "10 training and 10 validation examples, 6 tokens" in told  # blank, space, a to d
    assert told.count("  → ") == 6  # three transcripts an epoch
    checkpoint = load_checkpoint(out)
    best = min(epochs, key=lambda row: (row["cer"], row["valid_loss"]))
    assert checkpoint.metrics["epoch"] == best["epoch"]
    assert summary.cer == best["cer"]


def test_moving_average_is_what_is_kept(lines: Path, tmp_path: Path) -> None:
    config = tiny_config("ocr", lines, training__epochs=1, training__average="ema", training__ema_decay=0.9)
    train_quietly(config, tmp_path / "run")
    kept = weights_of(tmp_path / "run" / "model.safetensors")
    state = weights_of(tmp_path / "run" / "state.safetensors")
    for name, tensor in kept.items():
        assert torch.equal(tensor, state[f"average/ema/{name}"])
    assert not torch.equal(kept["head.weight"], state["model/head.weight"])


def test_mean_of_the_best_is_kept_where_it_is_better(lines: Path, tmp_path: Path) -> None:
    config = tiny_config("ocr", lines, training__epochs=5, training__average="best", training__average_best=2)
    summary, told = train_quietly(config, tmp_path / "run")
    state = weights_of(tmp_path / "run" / "state.safetensors")
    assert not any(name.startswith("average/best-2") for name in state)
    ranked = sorted(rows_of(tmp_path / "run", "epoch"), key=lambda row: (row["cer"], row["valid_loss"]))
    chosen = [row["epoch"] for row in ranked[:2]]
    assert f"mean of epochs {chosen}: CER" in told
    kept = weights_of(tmp_path / "run" / "model.safetensors")["head.weight"]
    best, second = state["average/best-0/head.weight"], state["average/best-1/head.weight"]
    was_kept = "not better, not kept" not in told
    assert torch.equal(kept, (best + second) / 2 if was_kept else best)
    assert summary.cer <= ranked[0]["cer"]


def still(lines: Path, **options: Any) -> Config:
    """A configuration that learns nothing at all, so that no epoch is better than the first."""
    return tiny_config("ocr", lines, training__learning_rate=1e-30, model__frontend__normalization="none", **options)


@pytest.mark.parametrize(
    "schedule",
    [{"training__schedule": "constant"}, {"training__schedule": "plateau", "training__plateau_patience": 1}],
    ids=["constant", "plateau"],
)
def test_early_stopping(schedule: dict[str, Any], lines: Path, tmp_path: Path) -> None:
    config = still(lines, training__epochs=30, training__early_stopping=3, **schedule)
    summary, told = train_quietly(config, tmp_path / "run")
    assert summary.epochs == 4  # the first is the best, then three that are not better
    assert "no better CER for 3 epochs: stopped early" in told


def test_plateau_halves_the_learning_rate(lines: Path, tmp_path: Path) -> None:
    config = still(lines, training__epochs=6, training__schedule="plateau", training__plateau_patience=2,
                   training__warmup_steps=0)  # fmt: skip
    train_quietly(config, tmp_path / "run")
    rates = [row["learning_rate"] for row in rows_of(tmp_path / "run", "epoch")]
    assert rates == pytest.approx([1e-30] * 3 + [5e-31] * 2 + [2.5e-31])


def test_cosine_falls_to_nearly_nothing(lines: Path, tmp_path: Path) -> None:
    config = tiny_config("ocr", lines, training__epochs=4, training__schedule="cosine", training__warmup_steps=2)
    train_quietly(config, tmp_path / "run")
    rates = [row["learning_rate"] for row in rows_of(tmp_path / "run", "step")]
    assert rates[0] < rates[1] and rates[1:] == sorted(rates[1:], reverse=True)
    assert rates[-1] < 0.1 * max(rates)


def test_time_limit(lines: Path, tmp_path: Path) -> None:
    config = tiny_config("ocr", lines, training__epochs=1000, training__max_minutes=1e-6)
    summary, _ = train_quietly(config, tmp_path / "run")
    assert summary.epochs == 1
    load_checkpoint(tmp_path / "run")


def test_intermediate_losses_train(lines: Path, tmp_path: Path) -> None:
    config = tiny_config("ocr", lines, model__encoder__layers=2, loss__intermediate_layers=[1], training__epochs=1)
    train_quietly(config, tmp_path / "run")
    before = ctcrec.checkpoint.build_from_config(config, 6)
    trained_model = load_checkpoint(tmp_path / "run").model
    assert len(trained_model.intermediate_heads) == len(before.intermediate_heads) == 1
    assert trained_model.intermediate_heads[0].bias.abs().max() > 0.01  # PyTorch's initial bias moved with the loss


def test_consistency_of_two_views_trains(manifests: dict[str, Path], tmp_path: Path) -> None:
    options = {"training__epochs": 1, "augmentation__time_masks": 2}
    plain = tiny_config("speech", manifests["speech"], **options)
    consistent = tiny_config("speech", manifests["speech"], loss__consistency_weight=0.5, **options)
    train_quietly(plain, tmp_path / "plain")
    train_quietly(consistent, tmp_path / "consistent")
    rows = rows_of(tmp_path / "consistent", "step")
    assert len(rows) == len(rows_of(tmp_path / "plain", "step"))
    assert all(np.isfinite(row["loss"]) for row in rows)
    assert rows[0]["gradient_norm"] != rows_of(tmp_path / "plain", "step")[0]["gradient_norm"]


def test_global_statistics_are_those_of_the_training_set(manifests: dict[str, Path], tmp_path: Path) -> None:
    config = tiny_config("speech", manifests["speech"], features__normalization="global", training__epochs=1)
    train_quietly(config, tmp_path / "run")
    preprocessor = build_preprocessor(config.features)
    everything = torch.cat([
        preprocessor.features(preprocessor.load(example.source)) for example in read_manifest(manifests["speech"])
    ])  # fmt: skip
    normalization = load_checkpoint(tmp_path / "run").model.frontend.feature_normalization
    torch.testing.assert_close(normalization.mean, everything.mean(0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(normalization.std, everything.std(0, correction=0), rtol=1e-4, atol=1e-4)


# ── bad data ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def spoiled(wrong: Callable[[torch.Tensor], bool]) -> Callable[..., torch.Tensor]:
    """A `Preprocessor.mask`, which only training calls, that breaks the features that `wrong` chooses."""

    def mask(self: Any, features: torch.Tensor, generator: np.random.Generator) -> torch.Tensor:
        return torch.full_like(features, float("nan")) if wrong(features) else features

    return mask


@pytest.mark.parametrize("modality", ["ocr", "speech"])
def test_a_batch_with_a_non_finite_loss_is_skipped_and_named(
    modality: str, manifests: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preprocessor = LinePreprocessor if modality == "ocr" else SpeechPreprocessor
    config = tiny_config(modality, manifests[modality], training__max_batch_size=1, training__epochs=2)
    examples = read_manifest(manifests[modality])
    lengths = [build_preprocessor(config.features).count_frames(example) for example in examples]
    bad = next(index for index, length in enumerate(lengths) if lengths.count(length) == 1)
    monkeypatch.setattr(preprocessor, "mask", spoiled(lambda features: len(features) == lengths[bad]))
    _, told = train_quietly(config, tmp_path / "run")
    assert told.count("skipped a batch with a non-finite loss or gradient") == 2
    assert told.count(f"non-finite loss or gradient: {examples[bad].id}\n") == 2
    rows = rows_of(tmp_path / "run", "epoch")
    assert [row["skipped_batches"] for row in rows] == [1, 1]
    assert all(np.isfinite(row["valid_loss"]) and np.isfinite(row["train_loss"]) for row in rows)
    assert len(rows_of(tmp_path / "run", "step")) == 2 * 9
    for name, tensor in weights_of(tmp_path / "run" / "state.safetensors").items():
        assert torch.isfinite(tensor.float()).all(), name  # neither weights nor batch statistics took it in


def test_too_many_bad_batches_in_a_row_stop_training(
    lines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config("ocr", lines, training__max_bad_batches=4, training__max_batch_size=1)
    monkeypatch.setattr(LinePreprocessor, "mask", spoiled(lambda features: True))
    with pytest.raises(TrainingError, match=r"4 batches in a row .* lower training\.learning_rate \(now 0\.02\)"):
        train_quietly(config, tmp_path / "run")


def test_infeasible_examples_are_named_and_left_out(tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path, "ocr", make_texts(6))
    examples = read_manifest(manifest)
    rows = manifest.read_text().splitlines()
    row = json.loads(rows[3])
    rows[3] = json.dumps({**row, "text": "a" * 200})
    manifest.write_text("\n".join(rows))
    config = tiny_config("ocr", manifest, training__epochs=1)
    _, told = train_quietly(config, tmp_path / "run")
    assert (
        f"left out 1 examples, labels + repeats exceed the frames (subsampling 2); use a smaller one: {examples[3].id}"
        in told
    )
    assert "5 training and 6 validation examples" in told
    [epoch] = rows_of(tmp_path / "run", "epoch")
    assert epoch["infeasible"] == 1 and np.isfinite(epoch["valid_loss"])
    assert "1 targets did not fit their frames" in told


def test_a_missing_medium_is_named(tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path, "ocr", make_texts(6))
    read_manifest(manifest)[2].source.unlink()
    with pytest.raises(MediaError, match=r"example train-002: .*002\.png"):
        train_quietly(tiny_config("ocr", manifest), tmp_path / "run")


def test_characters_that_training_lacks_are_told(tmp_path: Path) -> None:
    train_manifest = write_corpus(tmp_path, "ocr", ["ab", "ba", "aab"])
    valid_manifest = write_corpus(tmp_path, "ocr", ["ad", "dc"], name="valid")
    _, told = train_quietly(tiny_config("ocr", train_manifest, valid_manifest, training__epochs=1), tmp_path / "run")
    assert "characters of the validation texts that the training texts lack: 'c' in 1, 'd' in 2" in told


def test_no_manifest_and_no_gpu(lines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"data\.valid: no manifest is named"):
        train(tiny_config("ocr", lines, data__valid=[]), tmp_path / "run")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match=r"training\.precision = float16 needs a CUDA GPU"):
            train(tiny_config("ocr", lines, training__precision="float16"), tmp_path / "run")
        monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx2": True}, raising=False)
        with pytest.raises(ConfigError, match=r"training\.precision = bfloat16 needs a CUDA GPU or a processor with"):
            train(tiny_config("ocr", lines, training__precision="bfloat16"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


# ── a full disk ──────────────────────────────────────────────────────────────────────────────────────────────────────


def failing(original: Callable[..., Any], after: int) -> Callable[..., Any]:
    """`original`, which after so many calls finds the disk full."""
    calls = iter(range(1000))

    def call(*args: Any, **kwargs: Any) -> Any:
        if next(calls) >= after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return original(*args, **kwargs)

    return call


@pytest.mark.parametrize(
    ("where", "after"), [("save_file", 2), ("save_file", 3), ("replace", 7), ("replace", 9), ("replace", 12)]
)
def test_a_full_disk_leaves_the_last_checkpoint_whole(
    where: str, after: int, lines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config("ocr", lines, training__epochs=3, **DROPOUT)
    train_quietly(config, tmp_path / "whole")
    out = tmp_path / "full"
    with monkeypatch.context() as patch:
        if where == "save_file":
            patch.setattr(ctcrec.checkpoint, "save_file", failing(ctcrec.checkpoint.save_file, after))
        else:  # run.json, then six an epoch: two files of the tokenizer, config, metrics, model, state
            patch.setattr(os, "replace", failing(os.replace, after))
        with pytest.raises(CheckpointError, match=r"cannot be written: No space left .*; free space .*--resume"):
            train_quietly(config, out)
    load_checkpoint(out)
    assert not list(out.rglob("*.tmp"))
    train_quietly(config, out, resume=True)
    assert_same_run(tmp_path / "whole", out)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_while_logging(lines: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl: cannot be written: No space left"):
        train_quietly(tiny_config("ocr", lines, training__epochs=1), out)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_medium_stops_training_by_name_and_loses_nothing(tmp_path: Path, workers: int) -> None:
    """The message is the medium's, whichever process reads it; after mending the file, training goes on."""
    manifest = write_corpus(tmp_path, "ocr", make_texts(8))
    config = tiny_config("ocr", manifest, training__workers=workers, training__max_batch_size=2)
    broken = tmp_path / "train" / "007.png"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:60])
    with pytest.raises(MediaError) as caught:
        train_quietly(config, tmp_path / "run")
    assert "train-007" in str(caught.value) and "007.png" in str(caught.value)
    assert "Traceback" not in str(caught.value)
    broken.write_bytes(whole)
    if (tmp_path / "run/state.safetensors").exists():
        summary, _ = train_quietly(config, tmp_path / "run", resume=True)
        assert summary.epochs == 2
