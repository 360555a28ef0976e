"""Every mistake in a configuration gets one line that names file and key, and says what was expected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError
from tiny import changed, config_values

from ctcrec.config import LineFeatures, SpeechFeatures, dump_config, load_config, parse_config
from ctcrec.errors import ConfigError

CONFIGS = sorted((Path(__file__).parent.parent / "configs").rglob("*.yaml"))


@pytest.fixture
def values() -> dict[str, Any]:
    return config_values("ocr", Path("train.jsonl"))


def written(tmp_path: Path, values: Any) -> Path:
    path = tmp_path / "model.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def message_of(values: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as raised:
        parse_config(values, "model.yaml")
    return str(raised.value)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_configs_of_the_project_load(path: Path) -> None:
    config = load_config(path)
    assert config.modality == path.parent.name


def test_there_are_configs_of_both_modalities() -> None:
    assert {path.parent.name for path in CONFIGS} == {"ocr", "speech"}


@pytest.mark.parametrize("modality", ["ocr", "speech"])
def test_round_trip(modality: str, tmp_path: Path) -> None:
    config = parse_config(
        changed(
            config_values(modality, Path("a.jsonl")),
            text={"tokenizer": "bpe", "vocab_size": 300, "normalization": ["nfc", "lowercase"]},
            training__max_minutes=1.5,
        )
    )
    path = tmp_path / "dumped.yaml"
    path.write_text(dump_config(config), encoding="utf-8")
    assert load_config(path) == config
    assert isinstance(config.features, LineFeatures if modality == "ocr" else SpeechFeatures)


def test_augmentation_and_features_of_the_modality(values: dict[str, Any]) -> None:
    assert parse_config(values).features == LineFeatures(height=16)
    assert "features.n_mels: unknown key" in message_of(changed(values, features__n_mels=40))
    assert "augmentation.speeds: unknown key" in message_of(changed(values, augmentation__speeds=[1.0]))


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("trainning", {}, "trainning: unknown key; did you mean training?"),
        ("training__learning_rat", 0.1, "training.learning_rat: unknown key; did you mean learning_rate?"),
        ("features__heigth", 48, "features.heigth: unknown key; did you mean height?"),
        ("model__encoder__zzz", 1, "model.encoder.zzz: unknown key; known keys: cell, layers"),
        ("training__epochs", "many", "training.epochs: "),
        ("training__epochs", 0, "training.epochs: "),
        ("training__learning_rate", -1.0, "training.learning_rate: "),
        ("training__learning_rate", float("nan"), "training.learning_rate: "),
        ("training__schedule", "linear", "training.schedule: "),
        ("training__ema_decay", 1.0, "training.ema_decay: "),
        ("features__height", 4, "features.height: "),
        ("model__encoder__dropout", 1.0, "model.encoder.dropout: "),
        ("model__frontend__blocks", [], "model.frontend.blocks: "),
        ("model__frontend__blocks", [{"channels": 8, "kernel": [4, 3]}], "model.frontend.blocks.0: kernel sizes must"),
        (
            "model__frontend__blocks",
            [{"channel": 8}],
            "model.frontend.blocks.0.channel: unknown key; did you mean channels?",
        ),
        ("text__vocab_size", 30, "text: vocab_size has no effect with the char tokenizer"),
        ("text__tokenizer", "bpe", "text: the bpe tokenizer needs vocab_size"),
        ("loss__intermediate_layers", [1], "loss.intermediate_layers [1]: choose layers below the last"),
        ("seed", -1, "seed: "),
        ("seed", True, "seed: got true, but it is no switch"),
        ("loss__intermediate_weight", 0.5, "loss: intermediate_weight: no effect without intermediate_layers"),
        ("training__ema_decay", 0.5, "training: ema_decay: no effect without average: ema"),
        ("training__average_best", 5, "training: average_best: no effect without average: best"),
        ("training__plateau_patience", 5, "training: plateau_patience: no effect without schedule: plateau"),
        ("augmentation__time_mask_frames", 9, "augmentation: time_mask_frames: no effect without time_masks"),
        ("augmentation__shear", 0.3, "augmentation: shear: no effect without affine_probability"),
    ],
)
def test_each_mistake_is_explained(values: dict[str, Any], key: str, value: Any, expected: str) -> None:
    message = message_of(changed(values, **{key: value}))
    assert f"model.yaml: {expected}" in message
    assert all(line.startswith("model.yaml: ") for line in message.splitlines())


def test_all_mistakes_are_told_at_once(values: dict[str, Any]) -> None:
    lines = message_of(changed(values, training__epochs=0, data__trian=[], model__encoder__cell="rnn")).splitlines()
    assert sorted(line.split(":")[1].strip() for line in lines) == [
        "data.trian",
        "model.encoder.cell",
        "training.epochs",
    ]


@pytest.mark.parametrize("change", [{"modality": "video"}, {"modality": "video", "features__heigth": 3}])
def test_unknown_modality(values: dict[str, Any], change: dict[str, Any]) -> None:
    assert message_of(changed(values, **change)) == "model.yaml: modality: expected speech or ocr, got 'video'"


def test_missing_modality(values: dict[str, Any]) -> None:
    del values["modality"]
    assert message_of(values) == "model.yaml: modality: expected speech or ocr, got None"
    assert "got ['ocr']" in message_of({"modality": ["ocr"]})


@pytest.mark.parametrize("content", ["", "- a\n- b\n", "text"])
def test_not_a_mapping(tmp_path: Path, content: str) -> None:
    path = tmp_path / "model.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"model\.yaml: expected a mapping of sections"):
        load_config(path)


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: no such file"):
        load_config(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)
    broken = tmp_path / "broken.yaml"
    broken.write_text("modality: [ocr", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"broken\.yaml: is not valid YAML"):
        load_config(broken)
    broken.write_bytes(b"modality: \xff\xfe")
    with pytest.raises(ConfigError, match=r"broken\.yaml: cannot be read"):
        load_config(broken)


def test_overrides(values: dict[str, Any], tmp_path: Path) -> None:
    path = written(tmp_path, values)
    config = load_config(
        path,
        ["training.epochs=7", "data.train=[a.jsonl, b.jsonl]", "augmentation.blur_probability=0.5", "seed=9",
         "training.max_minutes=null"],
    )  # fmt: skip
    assert config.training.epochs == 7
    assert config.data.train == ("a.jsonl", "b.jsonl")
    assert config.augmentation.blur_probability == 0.5  # type: ignore[union-attr] - a section the file does not have
    assert config.seed == 9
    assert load_config(path) == parse_config(values)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("training.epochs", "--set training.epochs: expected key=value"),
        ("=3", "--set =3: expected key=value"),
        ("training.epochs=[1", "the value is not valid YAML"),
        ("seed.value=3", "seed is not a section"),
        ("training.epoch=3", "training.epoch: unknown key; did you mean epochs?"),
        ("training=3", "training: "),
    ],
)
def test_wrong_overrides(values: dict[str, Any], tmp_path: Path, override: str, expected: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_config(written(tmp_path, values), [override])
    assert expected in str(raised.value)


def test_frozen(values: dict[str, Any]) -> None:
    config = parse_config(values)
    with pytest.raises(ValidationError):
        config.training.epochs = 3  # type: ignore[misc]
