"""What the rows of `metrics.jsonl` show: of healthy trainings nothing, of others their fault, told once."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from real import real_config, real_digits
from tiny import train_quietly

from ctcrec.signals import Finding, Watch, epoch_findings, step_findings
from ctcrec.training.logging import read_rows

HEALTHY = {"blank_rate": 0.5, "distinct_outputs": 1.0, "infeasible": 0, "skipped_batches": 0, "padding": 0.1}


def epoch(number: int, train_loss: float, valid_loss: float, cer: float, **changes: Any) -> dict[str, Any]:
    losses = {"epoch": number, "step": 200 * number, "train_loss": train_loss, "valid_loss": valid_loss, "cer": cer}
    return {"kind": "epoch", "data_wait": 0.02, **HEALTHY, **losses, **changes}


def steps(losses: list[float], norm: float = 1.0) -> list[dict[str, Any]]:
    return [
        {"kind": "step", "step": index + 1, "loss": loss, "gradient_norm": norm} for index, loss in enumerate(losses)
    ]


def faults(findings: list[Finding]) -> list[str]:
    return [finding.name for finding in findings if finding.fault]


def test_a_healthy_training() -> None:
    falling = [epoch(n, 3 / n, 3 / n * (1 + 0.1 * (n % 2)), 0.9 / n) for n in range(1, 12)]
    assert faults(epoch_findings(falling, examples=100)) == []
    assert faults(step_findings(steps([3 / (1 + n / 50) for n in range(500)]), gradient_clip=5)) == []


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"blank_rate": 1.0}, "blank collapse"),
        ({"distinct_outputs": 0.01}, "same output"),
        ({"infeasible": 5}, "infeasible targets"),
        ({"skipped_batches": 1}, "skipped batches"),
        ({"padding": 0.5}, "padding"),
        ({"data_wait": 0.4}, "waiting for data"),
    ],
)
def test_faults_of_one_epoch(changes: dict[str, float], name: str) -> None:
    assert faults(epoch_findings([epoch(3, 1.0, 1.0, 0.3, **changes)], examples=100)) == [name]


def test_over_fitting_names_its_epoch() -> None:
    rows = [epoch(n, 1 / n, valid, 0.2) for n, valid in enumerate([1.0, 0.6, 0.5, 0.7, 0.65], start=1)]
    [finding] = [finding for finding in epoch_findings(rows, examples=100) if finding.fault]
    assert finding.name == "over-fitting" and "lowest at epoch 3 of 5: 0.500" in finding.details[0]
    assert faults(epoch_findings(rows[:4], examples=100)) == []  # one epoch proves nothing
    assert faults(epoch_findings([*rows, epoch(6, 0.1, 0.52, 0.2)], examples=100)) == []
    # when the training loss has risen too, it is no over-fitting
    assert "over-fitting" not in faults(epoch_findings([*rows[:4], epoch(5, 2.0, 0.7, 0.2)], examples=100))


def test_a_plateau_counts_only_where_little_is_learned() -> None:
    assert faults(epoch_findings([epoch(n, 2.8, 2.8, 0.95) for n in range(1, 6)], examples=100)) == ["plateau"]
    assert faults(epoch_findings([epoch(n, 0.05, 0.2, 0.05) for n in range(1, 6)], examples=100)) == []


def test_divergence() -> None:
    losses = [3 - 2 * n / 200 for n in range(200)] + [2.5] * 50
    [finding] = [finding for finding in step_findings(steps(losses), gradient_clip=5) if finding.fault]
    assert finding.name == "divergence" and "after step 151" in finding.details[0]
    assert step_findings(steps(losses[:99]), gradient_clip=5) == []


def test_gradients_clipped_all_the_time() -> None:
    assert faults(step_findings(steps([1.0] * 200, norm=9.0), gradient_clip=5)) == ["clipped gradients"]
    assert faults(step_findings(steps([1.0] * 100, norm=9.0), gradient_clip=5)) == []  # the first hundred may be


def test_blanks_at_the_beginning_are_usual() -> None:
    early = epoch(1, 3.3, 3.3, 1.0, blank_rate=1.0)
    assert faults(epoch_findings([early], examples=100, running=True)) == []
    assert faults(epoch_findings([early], examples=100)) == ["blank collapse"]
    assert faults(epoch_findings([early | {"step": 400}], examples=100, running=True)) == ["blank collapse"]


def test_each_fault_is_told_once_also_after_resuming() -> None:
    rows = [epoch(n, 1 / n, 1.0 + n, 0.2, padding=0.5) for n in range(1, 5)]
    watch = Watch([], 5.0, 100)
    assert [[finding.name for finding in watch.add(row)] for row in rows] == [["padding"], [], ["over-fitting"], []]
    resumed = Watch(rows[:1], 5.0, 100)
    assert [[finding.name for finding in resumed.add(row)] for row in rows[1:]] == [[], ["over-fitting"], []]


def test_a_finding_as_text_and_data() -> None:
    finding = Finding("name", 3.0, 2.0, "above", "what", "because", "do that", ("more",))
    assert finding.text().splitlines() == [
        "FAULT  name: 3 (what; a fault above 2)",
        "       why: because",
        "       try: do that",
        "         more",
    ]
    nothing = Finding("name", math.nan, 2.0, "below", "what", "because", "do that")
    assert nothing.fault and nothing.to_dict()["value"] is None
    assert not Finding("name", 3.0, 2.0, "below", "what", "because", "do that").fault


def test_training_warns_once_and_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real digits at a learning rate that is far too high."""
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda *_, **__: None)
    digits = real_digits(48)
    config = real_config(
        "speech",
        tmp_path,
        digits,
        digits[:8],
        training__learning_rate=3.0,
        training__epochs=40,
        text__normalization="nfc",
    )
    _, told = train_quietly(config, tmp_path / "run")
    rows = read_rows(tmp_path / "run/metrics.jsonl")
    assert "distinct_outputs" in rows[-1]
    possible = ("divergence", "clipped gradients", "blank collapse", "same output", "plateau")  # rounding decides
    names = [name for name in possible if f"FAULT  {name}:" in told]
    assert names, told
    for name in names:
        assert told.count(f"FAULT  {name}:") == 1
    assert told.index("FAULT") < told.index("epoch  40")
