"""The typed, validated configuration: one YAML file = one model on one corpus = one result.

Every section is frozen, refuses unknown keys, and says in each field what it means. `load_config` reads YAML, applies
`key=value` overrides and turns every mistake into a `ConfigError` that names the file, the key and what was expected.
Components never see these objects: one `build_*` function a level reads them and passes plain arguments down.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ctcrec.errors import ConfigError

__all__ = [
    "Config",
    "DataConfig",
    "DecoderConfig",
    "DecodingConfig",
    "Distillation",
    "EncoderConfig",
    "FrontendConfig",
    "LineAugmentation",
    "LineFeatures",
    "LossConfig",
    "ModelConfig",
    "ScheduledSampling",
    "SequenceTraining",
    "SpeechAugmentation",
    "SpeechFeatures",
    "TextConfig",
    "TrainingConfig",
    "dump_config",
    "load_config",
    "load_decoding",
    "parse_augmentation",
    "parse_config",
    "parse_decoding",
    "parse_overrides",
]

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A part of the configuration: frozen, strict, without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _no_switches(cls, values: Any) -> Any:
        """A switch is given only to keys that are one; without this, `true` would count as 1."""
        if isinstance(values, dict):
            for key, value in values.items():
                field = cls.model_fields.get(key)
                if isinstance(value, bool) and not (field is not None and field.annotation is bool):
                    raise ValueError(f"{key}: got {str(value).lower()}, but it is no switch")
        return values

    def _needs(self, keys: Sequence[str], met: bool, needed: str) -> None:
        """Refuse keys that were changed from their defaults but have no effect because `needed` is not met."""
        changed = [key for key in keys if getattr(self, key) != type(self).model_fields[key].default]
        if changed and not met:
            raise ValueError(f"{', '.join(changed)}: no effect without {needed}")


class DataConfig(Section):
    """Which manifests to train and validate on. Relative paths start at the working directory."""

    train: tuple[str, ...] = Field((), description="manifests to train on")
    valid: tuple[str, ...] = Field((), description="manifests to validate on after each epoch")
    max_frames: Count | None = Field(None, description="leave out training examples longer than this (feature frames)")
    min_frames: Count = Field(1, description="leave out training examples shorter than this (feature frames)")


class TextConfig(Section):
    """How text is normalized and cut into tokens."""

    normalization: str | tuple[str, ...] = Field("nfc", description="a named convention, or a list of steps")
    tokenizer: Literal["char", "unigram", "bpe"] = "char"
    vocab_size: Count | None = Field(None, description="number of SentencePiece tokens; only for unigram and bpe")

    @model_validator(mode="after")
    def _no_silent_option(self) -> TextConfig:
        if self.tokenizer == "char" and self.vocab_size is not None:
            raise ValueError("vocab_size has no effect with the char tokenizer: remove it, or choose unigram or bpe")
        if self.tokenizer != "char" and self.vocab_size is None:
            raise ValueError(f"the {self.tokenizer} tokenizer needs vocab_size (for example 500)")
        return self


class SpeechFeatures(Section):
    """Log-mel filterbanks."""

    sample_rate: Annotated[int, Field(ge=4000, le=192000)] = 16000
    n_mels: Annotated[int, Field(ge=4, le=256)] = 80
    window_ms: Positive = 25.0
    hop_ms: Positive = 10.0
    normalization: Literal["utterance", "global", "none"] = Field(
        "utterance", description="mean and variance per utterance, over the training set, or not at all"
    )


class LineFeatures(Section):
    """Line images scaled to one height; a frame is one column of pixels."""

    height: Annotated[int, Field(ge=8, le=512)] = 48
    normalization: Literal["global", "none"] = Field(
        "none", description="mean and variance over the training set, or not at all (ink is 1, paper 0)"
    )


class MaskAugmentation(Section):
    """SpecAugment's masks, of spectra and of pixel columns alike."""

    time_masks: Annotated[int, Field(ge=0)] = Field(
        0, description="SpecAugment: number of time masks (stretches of frames or pixel columns)"
    )
    time_mask_frames: Count = Field(40, description="SpecAugment: longest time mask, frames")
    time_mask_fraction: Probability = Field(0.2, description="SpecAugment: longest time mask, share of the example")
    frequency_masks: Annotated[int, Field(ge=0)] = Field(
        0, description="SpecAugment: number of masks of mel bands or pixel rows"
    )
    frequency_mask_bands: Count = Field(15, description="SpecAugment: widest of them, mel bands or pixel rows")

    @model_validator(mode="after")
    def _no_silent_mask(self) -> MaskAugmentation:
        self._needs(["time_mask_frames", "time_mask_fraction"], self.time_masks > 0, "time_masks")
        self._needs(["frequency_mask_bands"], self.frequency_masks > 0, "frequency_masks")
        return self


class SpeechAugmentation(MaskAugmentation):
    """Changes to training utterances; each draws from a generator seeded by (seed, epoch, id)."""

    speeds: tuple[Positive, ...] = Field((1.0,), description="speed factors, one drawn for each utterance")
    gain_db: Annotated[float, Field(ge=0)] = Field(0.0, description="gain drawn from [-gain_db, gain_db]")
    noise_probability: Probability = 0.0
    noise_snr_db: tuple[float, float] = Field((5.0, 30.0), description="signal-to-noise ratio, drawn from this range")

    @model_validator(mode="after")
    def _no_silent_option(self) -> SpeechAugmentation:
        self._needs(["noise_snr_db"], self.noise_probability > 0, "noise_probability")
        return self


class LineAugmentation(MaskAugmentation):
    """Changes to training lines; each draws from a generator seeded by (seed, epoch, id).

    Each `*_probability` is how often that change is made; 0 turns it off.
    """

    OPTIONS: ClassVar[Mapping[str, Sequence[str]]] = {  # what has no effect without a probability
        "affine_probability": ("rotation_degrees", "shear", "scale", "shift"),
        "elastic_probability": ("elastic_amplitude",),
        "spread_probability": ("spread",),
        "bleed_probability": ("bleed",),
        "resolution_probability": ("resolution",),
        "blur_probability": ("blur_sigma",),
        "contrast_probability": ("contrast",),
        "noise_probability": ("noise_sigma",),
        "speckle_probability": ("speckle",),
        "jpeg_probability": ("jpeg_quality",),
    }

    affine_probability: Probability = 0.0
    rotation_degrees: Annotated[float, Field(ge=0, le=45)] = 1.0
    shear: Annotated[float, Field(ge=0, le=2)] = Field(0.2, description="horizontal shear, x shift per unit of y")
    scale: Annotated[float, Field(ge=0, lt=1)] = Field(0.1, description="width and height scaled by 1 ± this")
    shift: Annotated[float, Field(ge=0, lt=1)] = Field(0.05, description="vertical shift, share of the height")
    elastic_probability: Probability = 0.0
    elastic_amplitude: Annotated[float, Field(ge=0)] = Field(0.04, description="displacement, share of the height")
    spread_probability: Probability = Field(0.0, description="ink that ran into the paper, or left it, at ragged edges")
    spread: Annotated[float, Field(gt=0, le=0.2)] = Field(
        0.03, description="as far as this at most, share of the height"
    )
    bleed_probability: Probability = Field(0.0, description="print of the other side shows through")
    bleed: Annotated[float, Field(gt=0, le=1)] = Field(0.3, description="its strength at most, 1 = as the ink")
    morphology_probability: Probability = Field(0.0, description="erode or dilate the ink")
    resolution_probability: Probability = Field(0.0, description="as if scanned with fewer dots to the inch")
    resolution: Annotated[float, Field(gt=0, lt=1)] = Field(0.5, description="share of the rows that is left, at least")
    blur_probability: Probability = 0.0
    blur_sigma: Annotated[float, Field(ge=0)] = Field(1.0, description="strongest Gaussian blur, pixels")
    contrast_probability: Probability = 0.0
    contrast: Annotated[float, Field(ge=0, lt=1)] = Field(0.4, description="contrast and brightness change by ± this")
    noise_probability: Probability = 0.0
    noise_sigma: Annotated[float, Field(ge=0)] = Field(12.0, description="strongest Gaussian noise, gray levels of 255")
    speckle_probability: Probability = Field(0.0, description="dust and holes")
    speckle: Annotated[float, Field(gt=0, le=0.2)] = Field(0.005, description="share of the pixels, at most")
    jpeg_probability: Probability = 0.0
    jpeg_quality: tuple[int, int] = Field((20, 80), description="JPEG quality, drawn from this range")
    binary_probability: Probability = Field(0.0, description="black and white only, as in 1-bit scans")

    @model_validator(mode="after")
    def _no_silent_option(self) -> LineAugmentation:
        for probability, options in self.OPTIONS.items():
            self._needs(options, getattr(self, probability) > 0, probability)
        return self


class ConvolutionConfig(Section):
    """One convolution block: conv → max-pool → normalization → ReLU → dropout."""

    channels: Count
    kernel: tuple[Count, Count] = Field((3, 3), description="(time, feature) size; odd")
    stride: tuple[Count, Count] = Field((1, 1), description="(time, feature) step of the convolution")
    pool: tuple[Count, Count] = Field((1, 1), description="(time, feature) max-pooling after it")

    @model_validator(mode="after")
    def _odd(self) -> ConvolutionConfig:
        if any(size % 2 == 0 for size in self.kernel):
            raise ValueError(f"kernel sizes must be odd, so that frames stay centred; got {list(self.kernel)}")
        return self


class FrontendConfig(Section):
    """The 2-D convolutions over (time, feature)."""

    blocks: tuple[ConvolutionConfig, ...] = Field(..., min_length=1)
    normalization: Literal["batch", "none"] = "batch"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    projection: Count | None = Field(None, description="linear layer from the flattened frame to this width")


class EncoderConfig(Section):
    """The bidirectional recurrent layers."""

    cell: Literal["lstm", "gru"] = "lstm"
    layers: Count = 2
    width: Count = Field(160, description="units of each direction")
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    projection: Count | None = Field(None, description="linear layer between recurrent layers")


class DecoderConfig(Section):
    """The attention decoder (`ctcrec.models.attention_decoder`)."""

    cell: Literal["lstm", "gru"] = "lstm"
    layers: Count = 1
    width: Count = 256
    embedding: Count = Field(64, description="size of the token embedding")
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    attention: Literal["location", "additive", "dot", "none"] = Field(
        "location", description="Chorowski's, Bahdanau's, scaled dot products, or only the encoder's last state"
    )
    attention_size: Count = Field(128, description="width of the energies, or of all heads together")
    heads: Count = Field(1, description="heads of dot attention")
    location_channels: Count = Field(10, description="convolution channels of location attention")
    location_kernel: Count = Field(31, description="frames that its convolution spans; odd")
    input_feeding: bool = Field(False, description="each step also sees what the last one read (Luong et al. 2015)")
    tie_weights: bool = Field(False, description="output weights are the embedding's; needs embedding = width")

    @model_validator(mode="after")
    def _no_silent_option(self) -> DecoderConfig:
        self._needs(["attention_size", "input_feeding"], self.attention != "none", "an attention other than none")
        self._needs(["heads"], self.attention == "dot", "attention: dot")
        self._needs(["location_channels", "location_kernel"], self.attention == "location", "attention: location")
        if self.attention_size % self.heads:
            raise ValueError(f"attention_size {self.attention_size} must be a multiple of heads {self.heads}")
        if self.location_kernel % 2 == 0:
            raise ValueError(f"location_kernel must be odd, so that it is centred; got {self.location_kernel}")
        if self.tie_weights and self.embedding != self.width:
            raise ValueError(f"tie_weights needs embedding = width, not {self.embedding} and {self.width}")
        return self


class ModelConfig(Section):
    """Frontend, encoder and decoder; the size of the CTC head and of the decoder's output comes from the tokenizer."""

    frontend: FrontendConfig
    encoder: EncoderConfig = EncoderConfig()
    decoder: DecoderConfig | None = Field(None, description="attention decoder; with loss.ctc_weight below 1")


class ScheduledSampling(Section):
    """How often the decoder is given the true last token in training, and not one drawn from its own distribution
    (Bengio et al. 2015, §2.4). After i units:

    linear max(floor, 1 − i / k), exponential max(floor, k^i), inverse_sigmoid max(floor, k / (k + exp(i / k))).
    """

    schedule: Literal["linear", "exponential", "inverse_sigmoid"]
    k: Positive
    unit: Literal["step", "epoch"] = "epoch"
    floor: Probability = Field(0.0, description="smallest share of true tokens")

    @model_validator(mode="after")
    def _range(self) -> ScheduledSampling:
        if (self.schedule == "exponential") != (self.k < 1):
            raise ValueError(f"k must be below 1 for exponential and at least 1 for the others; got {self.k:g}")
        return self


class SequenceTraining(Section):
    """Training on whole hypotheses of the model itself, best from a trained run (`ctcrec train --from`):

    (1 − weight) · loss + weight · expected risk, see `ctcrec.losses.minimum_risk`.
    """

    objective: Literal["minimum_risk", "reinforce"] = Field(
        "minimum_risk", description="expected risk over a list, or REINFORCE over samples"
    )
    risk: Literal["words", "characters", "bleu"] = Field(
        "characters", description="edit distance in words (MWER) or characters (MCER), or 1 − smoothed sentence BLEU"
    )
    head: Literal["ctc", "attention"] = "ctc"
    hypotheses: Literal["beam", "samples"] = Field("beam", description="the best that a beam search finds, or drawn")
    count: Count = Field(4, description="hypotheses of each example, at most")
    beam_size: Count = Field(10, description="of the beam search")
    weight: Annotated[float, Field(gt=0, le=1)] = 0.5
    sharpness: Positive = Field(1.0, description="factor of ln p before the list's probabilities are made to sum to 1")
    baseline: Literal["mean", "others", "self_critical", "none"] | None = Field(
        None,
        description="subtracted from risks: the list's mean, that of the other samples, or the risk of the greedy text;"
        " default mean for minimum_risk, self_critical for reinforce",
    )

    @model_validator(mode="after")
    def _no_silent_option(self) -> SequenceTraining:
        self._needs(["sharpness"], self.objective == "minimum_risk", "objective: minimum_risk")
        self._needs(["beam_size"], self.hypotheses == "beam", "hypotheses: beam")
        if self.objective == "reinforce" and self.hypotheses != "samples":
            raise ValueError("objective: reinforce is over what the model draws; set hypotheses: samples")
        fitting = ("mean", "none") if self.objective == "minimum_risk" else ("self_critical", "others", "none")
        if self.baseline is not None and self.baseline not in fitting:
            raise ValueError(f"baseline: {self.objective} takes {', '.join(fitting)}; got {self.baseline}")
        if self.count < 2 and (self.objective == "minimum_risk" or self.baseline == "others"):
            raise ValueError("count: a single hypothesis has nothing to be compared with; use at least 2")
        if self.hypotheses == "beam" and self.count > self.beam_size:
            raise ValueError(f"count {self.count} is more than beam_size {self.beam_size}")
        return self


class Distillation(Section):
    """Learning from a trained run with the same tokens and features: (1 − weight) · loss + weight · distance from it.

    kl, mse    of the CTC heads' outputs at each frame
    nbest      this model's own loss on the teacher's best texts, each weighted by the teacher's posterior
    """

    teacher: str = Field(..., description="directory of the run; relative paths start at the working directory")
    kind: Literal["kl", "mse", "nbest"] = "kl"
    weight: Annotated[float, Field(gt=0, le=1)] = 0.5
    temperature: Positive = Field(1.0, description="of kl; above 1 it is the less likely tokens that count more")
    nbest: Count = Field(4, description="texts of the teacher")

    @model_validator(mode="after")
    def _no_silent_option(self) -> Distillation:
        self._needs(["temperature"], self.kind == "kl", "kind: kl")
        self._needs(["nbest"], self.kind == "nbest", "kind: nbest")
        return self


class LossConfig(Section):
    """What training minimizes, a mean over target tokens:

    ctc_weight · CTC loss, −ln p(target | frames), + (1 − ctc_weight) · cross-entropy of the attention decoder.
    """

    ctc_weight: Probability = Field(1.0, description="1: CTC alone; 0: attention alone; between: both")
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="ε of the cross-entropy")
    smoothing: Literal["all", "others"] = Field(
        "all", description="ε is spread over all classes (ε/K each, as PyTorch) or over the others (ε/(K − 1))"
    )
    focal_gamma: Annotated[float, Field(ge=0)] = Field(0.0, description="focusing of the cross-entropy (focal loss)")
    scheduled_sampling: ScheduledSampling | None = Field(None, description="None: always the true last token")
    class_weights: dict[str, Annotated[float, Field(ge=0)]] = Field(
        {}, description="factor of the cross-entropy of these tokens; <blank> is the end of the text; others have 1"
    )
    step_weights: Literal["none", "position", "manifest"] = Field(
        "none",
        description="factor of each token's cross-entropy: position_decay^place, or the row's token_weights, one number"
        " for each token and perhaps one for the end",
    )
    position_decay: Positive = 1.0
    sequence_weights: Literal["none", "length", "manifest"] = Field(
        "none",
        description="factor of an example's losses: 1 / its tokens, or the manifest row's weight",
    )
    sequence_training: SequenceTraining | None = None
    distillation: Distillation | None = None
    intermediate_layers: tuple[Count, ...] = Field(
        (), description="also CTC on the output of these encoder layers, 1 = first (InterCTC, Lee & Watanabe 2021)"
    )
    intermediate_weight: Probability = Field(0.3, description="weight of the mean intermediate loss")
    consistency_weight: Annotated[float, Field(ge=0)] = Field(
        0.0, description="weight of the consistency of two augmented views (CR-CTC, Yao et al. 2024); 0 = one view"
    )

    @model_validator(mode="after")
    def _no_silent_option(self) -> LossConfig:
        self._needs(["intermediate_weight"], bool(self.intermediate_layers), "intermediate_layers")
        self._needs(["intermediate_layers", "consistency_weight"], self.ctc_weight > 0, "a ctc_weight above 0")
        attention = ["label_smoothing", "focal_gamma", "scheduled_sampling", "class_weights", "step_weights"]
        self._needs(attention, self.ctc_weight < 1, "a ctc_weight below 1")
        self._needs(["smoothing"], self.label_smoothing > 0, "label_smoothing")
        self._needs(["position_decay"], self.step_weights == "position", "step_weights: position")
        if self.sequence_training is not None:
            head = self.sequence_training.head
            if head == ("attention" if self.ctc_weight == 1 else "ctc" if self.ctc_weight == 0 else None):
                raise ValueError(f"sequence_training.head: with ctc_weight {self.ctc_weight:g} there is no {head} head")
        if self.distillation is not None and self.distillation.kind != "nbest" and self.ctc_weight == 0:
            raise ValueError(f"distillation: {self.distillation.kind} compares CTC heads; use kind: nbest")
        return self


class TrainingConfig(Section):
    """Optimization, checkpoints and stopping."""

    epochs: Count = 100
    max_minutes: Positive | None = Field(None, description="stop at the first epoch end after this much training time")
    batch_frames: Count = Field(20000, description="feature frames in a batch, padding included")
    max_batch_size: Count = Field(64, description="examples in a batch, at most")
    accumulation: Count = Field(1, description="batches whose gradients make one step")
    learning_rate: Positive = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    warmup_steps: Annotated[int, Field(ge=0)] = 200
    freeze_frontend_steps: Annotated[int, Field(ge=0)] = Field(
        0, description="steps in which the frontend stays as the model given by --from has it"
    )
    schedule: Literal["cosine", "plateau", "constant"] = "cosine"
    plateau_patience: Count = Field(3, description="epochs without a better CER before the learning rate halves")
    gradient_clip: Positive = Field(5.0, description="largest gradient norm")
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="fp16 needs a GPU, bf16 a GPU or a processor with AVX512-BF16 or AMX"
    )
    average: Literal["none", "ema", "best"] = Field(
        "none", description="validate and keep the raw weights, their moving average, or the mean of the best"
    )
    ema_decay: Annotated[float, Field(gt=0, lt=1)] = 0.999
    average_best: Annotated[int, Field(ge=2)] = Field(3, description="how many best checkpoints `average: best` takes")
    early_stopping: Count | None = Field(None, description="stop after this many epochs without a better CER")
    checkpoint_minutes: Positive = Field(5.0, description="time between checkpoints within an epoch")
    max_bad_batches: Count = Field(20, description="batches with a non-finite loss in a row before training stops")
    workers: Annotated[int, Field(ge=0)] = Field(1, description="processes that load and augment data; 0 = none")
    threads: Count | None = Field(
        None, description="CPU threads of the model; default: a core for each, but for the workers'"
    )

    @model_validator(mode="after")
    def _no_silent_option(self) -> TrainingConfig:
        self._needs(["plateau_patience"], self.schedule == "plateau", "schedule: plateau")
        self._needs(["ema_decay"], self.average == "ema", "average: ema")
        self._needs(["average_best"], self.average == "best", "average: best")
        return self


_SEARCH = frozenset({"attention", "joint"})  # token by token
_ATTENTION = _SEARCH | {"sample"}
_TEXT_SEARCH = _SEARCH | {"beam", "rescore"}
_FRAMES_SEARCH = frozenset({"beam", "rescore"})  # frame by frame


class DecodingConfig(Section):
    """How a run's outputs become text; `decoding.yaml` in the run's directory, which `ctcrec tune` writes.

    greedy      best path of the CTC head
    beam        prefix beam search over the CTC head's frames
    attention   beam search over the attention decoder's tokens; beam_size 1 is greedy
    joint       the same, with the CTC prefix score of each text (Watanabe et al. 2017)
    rescore     the n best texts of `beam`, ordered by both heads
    sample      texts drawn from the attention decoder; the most probable of them

    Relative file names start at the folder of that file. What is not set is left to `ctcrec.decoding`.
    """

    strategy: Literal["greedy", "beam", "attention", "joint", "rescore", "sample"] = "greedy"
    lm: str | None = Field(None, description="n-gram model: ARPA, gzip too, or the binary form")
    lm_unit: Literal["word", "token"] | None = Field(None, description="what the model's words are")
    lm_weight: float | None = Field(None, description="factor of the model's ln p")
    word_score: float | None = Field(None, description="added for every word")
    unknown_score: float | None = Field(None, description="added for every word that lexicon or model lacks")
    unknown_letter_score: float | None = Field(
        None, le=0.0, description="added for each of its letters after the first with which no known word begins"
    )
    lexicon: str | None = Field(None, description="file of the words that may be written, one a line")
    hotwords: str | None = Field(None, description="file of phrases to prefer, one a line, with a tab and a weight")
    hotword_weight: float | None = Field(None, description="of hotwords without a weight")
    beam_size: Count | None = Field(None, description="prefixes kept from frame to frame, or from token to token")
    beam_size_token: Count | None = Field(None, description="tokens looked at in a frame")
    beam_threshold: Positive | None = Field(None, description="prefixes worse than the best by more are dropped")
    blank_skip_threshold: Probability | None = Field(None, description="blank probability that extends nothing")
    prior: str | None = Field(None, description="file of the tokens' priors, which `ctcrec tune` measures")
    prior_weight: Annotated[float, Field(ge=0)] | None = Field(
        None, description="exponent of the prior by which probabilities are divided; 0.3 if not given"
    )
    characters: str | None = Field(None, description="the characters that may be written, besides spaces")
    pattern: str | None = Field(None, description="regular expression that the whole text must match")
    temperature: Positive | None = Field(None, description="of the confidences, fitted by `ctcrec tune`")
    ctc_weight: Probability | None = Field(None, description="share of the CTC head in the score; default 0.3")
    nbest: Count | None = Field(None, description="texts of the CTC head that attention rescores; default 20")
    length_normalization: Literal["none", "length", "gnmt"] | None = Field(
        None, description="what divides a text's score: nothing, length^α, or ((5 + length) / 6)^α"
    )
    length_exponent: Annotated[float, Field(ge=0)] | None = Field(None, description="that α")
    coverage_weight: Annotated[float, Field(ge=0)] | None = Field(None, description="of frames looked at too little")
    groups: Count | None = Field(None, description="diverse beam search: groups that the beam is divided into")
    diversity: Annotated[float, Field(ge=0)] | None = Field(None, description="off for a token of an earlier group")
    repetition_penalty: Annotated[float, Field(ge=1)] | None = Field(
        None, description="factor of ln p of tokens written before"
    )
    blocked_ngrams: Count | None = Field(None, description="no sequence of so many tokens may come twice")
    min_length: Annotated[int, Field(ge=0)] | None = Field(None, description="fewest tokens of a text")
    max_length: Count | None = Field(None, description="most tokens of a text; default: its frames")
    end_threshold: Positive | None = Field(None, description="a text ends where ln p(end) > this × best other ln p")
    samples: Count | None = Field(None, description="texts drawn, of which the most probable is taken; default 1")
    sampling_temperature: Positive | None = Field(None, description="divides ln p before drawing")
    top_k: Count | None = Field(None, description="only so many best tokens are drawn from")
    nucleus: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="only the best tokens are drawn from that together have this probability"
    )
    seed: Annotated[int, Field(ge=0)] | None = Field(None, description="of what is drawn; default 0")
    safeguard: Annotated[float, Field(ge=0)] | None = Field(
        None,
        description="nats per token by which CTC may find attention's text less likely than its own before CTC's text"
        " takes its place; 0 = never; default 2 where there is a CTC head",
    )

    @model_validator(mode="after")
    def _no_silent_option(self) -> DecodingConfig:
        given = self.options()
        wrong = [name for name in given if self.strategy not in _APPLIES.get(name, _TEXT_SEARCH)]
        if wrong:
            fitting = [s for s in _STRATEGIES if all(s in _APPLIES.get(name, _TEXT_SEARCH) for name in given)]
            advice = f"choose strategy: {' or '.join(fitting)}" if fitting else "leave them out"
            raise ValueError(f"{', '.join(wrong)}: no effect on {self.strategy} decoding; {advice}")
        if self.length_exponent is not None and self.length_normalization in (None, "none"):
            raise ValueError("length_exponent: no effect without length_normalization: length or gnmt")
        if self.min_length is not None and self.max_length is not None and self.min_length > self.max_length:
            raise ValueError(f"min_length {self.min_length} is more than max_length {self.max_length}")
        return self

    def options(self) -> dict[str, Any]:
        """What is set besides the strategy."""
        return self.model_dump(exclude={"strategy"}, exclude_none=True)


_STRATEGIES = ("greedy", "beam", "attention", "joint", "rescore", "sample")
_APPLIES: dict[str, frozenset[str]] = {  # what is not here applies to all searches for texts
    **dict.fromkeys(("beam_size_token", "blank_skip_threshold", "prior", "prior_weight"), _FRAMES_SEARCH),
    "temperature": frozenset({"beam"}),
    "ctc_weight": frozenset({"joint", "rescore"}),
    "nbest": frozenset({"rescore"}),
    **dict.fromkeys(("length_normalization", "length_exponent", "coverage_weight", "groups", "diversity"), _SEARCH),
    **dict.fromkeys(("repetition_penalty", "blocked_ngrams", "min_length", "end_threshold"), _SEARCH),
    **dict.fromkeys(("max_length", "safeguard"), _ATTENTION),
    **dict.fromkeys(("samples", "sampling_temperature", "top_k", "nucleus", "seed"), frozenset({"sample"})),
}


_SECTIONS: dict[str, dict[str, type[Section]]] = {
    "speech": {"features": SpeechFeatures, "augmentation": SpeechAugmentation},
    "ocr": {"features": LineFeatures, "augmentation": LineAugmentation},
}


class Config(Section):
    """The whole configuration of one run."""

    modality: Literal["speech", "ocr"]
    seed: Annotated[int, Field(ge=0)] = 1
    data: DataConfig = DataConfig()
    text: TextConfig = TextConfig()
    features: SpeechFeatures | LineFeatures
    augmentation: SpeechAugmentation | LineAugmentation
    model: ModelConfig
    loss: LossConfig = LossConfig()
    training: TrainingConfig = TrainingConfig()

    @model_validator(mode="before")
    @classmethod
    def _sections_of_modality(cls, values: Any) -> Any:
        """Validate `features` and `augmentation` as what the modality has, so that errors name the right keys."""
        if not isinstance(values, dict):
            return values
        modality = values.get("modality")
        if modality not in tuple(_SECTIONS):
            raise ValueError(f"modality: expected {' or '.join(_SECTIONS)}, got {modality!r}")
        chosen = dict(values)
        for key, section in _SECTIONS[modality].items():
            given = chosen.get(key, {})
            if isinstance(given, dict):
                try:
                    chosen[key] = section.model_validate(given)
                except ValidationError as error:
                    raise ValueError("\n".join(_explain(error, section, prefix=key))) from None
        return chosen

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        encoder, loss = self.model.encoder, self.loss
        if (self.model.decoder is not None) != (loss.ctc_weight < 1):
            raise ValueError(
                f"model.decoder is {'set' if self.model.decoder else 'not set'} and loss.ctc_weight is"
                f" {loss.ctc_weight:g}: a ctc_weight below 1 needs a decoder, and without it a decoder learns nothing"
            )
        if loss.consistency_weight > 0 and not (self.augmentation.time_masks or self.augmentation.frequency_masks):
            raise ValueError(
                "loss.consistency_weight compares two views that differ in their masks; set augmentation.time_masks or"
                " augmentation.frequency_masks"
            )
        if any(layer >= encoder.layers for layer in loss.intermediate_layers):
            raise ValueError(
                f"loss.intermediate_layers {list(loss.intermediate_layers)}: choose layers below the last of"
                f" model.encoder.layers = {encoder.layers}"
            )
        return self


def parse_config(values: Any, where: str = "config") -> Config:
    """A validated Config from plain data; raises ConfigError with every mistake, a line each."""
    if not isinstance(values, dict):
        raise ConfigError(f"{where}: expected a mapping of sections (modality, features, model, ...), got {values!r}")
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        lines = _explain(error, Config)
        raise ConfigError("\n".join(f"{where}: {line}" for line in lines)) from None


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file and apply `section.key=value` overrides (values are YAML).

    Raises:
        ConfigError: the file is missing or no YAML, a key is unknown, a value has a wrong type or is out of range.
    """
    path = Path(path)
    values = _read_yaml(path)
    if isinstance(values, dict):
        for override in overrides:
            _apply(values, override)
    return parse_config(values, where=str(path))


def load_decoding(path: str | Path, changes: Mapping[str, Any]) -> DecodingConfig:
    """The decoding configuration of a run (greedy where there is no such file), with some keys changed.

    Choosing another strategy than the file's drops what the file says of its own.

    Raises:
        ConfigError: the file cannot be read, a key is unknown, or a value is wrong.
    """
    path = Path(path)
    values: Any = _read_yaml(path) if path.is_file() else {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected keys such as strategy and lm_weight, got {values!r}")
    own = values.get("strategy", "greedy")
    merged = {**(values if changes.get("strategy", own) == own else {}), **changes}
    return parse_decoding(merged, where=str(path) if path.is_file() and not changes else "decoding")


def parse_decoding(values: Mapping[str, Any], where: str = "decoding") -> DecodingConfig:
    """A validated DecodingConfig from plain data; raises ConfigError with every mistake, a line each."""
    try:
        return DecodingConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError("\n".join(f"{where}: {line}" for line in _explain(error, DecodingConfig))) from None


def parse_augmentation(values: Mapping[str, Any], where: str) -> LineAugmentation:
    """Validated changes to lines from plain data; raises ConfigError with every mistake, a line each."""
    try:
        return LineAugmentation.model_validate(values)
    except ValidationError as error:
        raise ConfigError("\n".join(f"{where}: {line}" for line in _explain(error, LineAugmentation))) from None


def dump_config(config: Config) -> str:
    """YAML text from which `load_config` makes an equal Config."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _read_yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; configs that come with the project are in configs/") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: is not valid YAML: {error}") from None


def parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """Nested plain data from `key=value` texts."""
    values: dict[str, Any] = {}
    for override in overrides:
        _apply(values, override)
    return values


def _apply(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise ConfigError(f"--set {override}: expected key=value, for example training.learning_rate=0.001")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"--set {override}: the value is not valid YAML; quote it") from None
    *parents, last = key.split(".")
    node = values
    for parent in parents:
        node = node.setdefault(parent, {})
        if not isinstance(node, dict):
            raise ConfigError(f"--set {override}: {parent} is not a section")
    node[last] = value


def _explain(error: ValidationError, section: type[Section], prefix: str = "") -> list[str]:
    """One line for each mistake: the key as a user writes it, what was wrong, and the nearest known key."""
    lines = []
    items = error.errors()
    for item in items:
        if item["type"] == "too_short" and any(_is_below(other["loc"], item["loc"]) for other in items):
            continue  # pydantic counts only the valid items of a list; the wrong ones have lines of their own
        parts = [str(part) for part in item["loc"] if part not in ("SpeechFeatures", "LineFeatures")]
        key = ".".join([prefix, *parts] if prefix else parts)
        if item["type"] == "extra_forbidden":
            known = _known_keys(section, [str(part) for part in item["loc"][:-1]])
            near = difflib.get_close_matches(parts[-1], known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known keys: {', '.join(known)}"
            lines.append(f"{key}: unknown key; {hint}")
        elif item["type"] == "value_error":
            message = item["msg"].removeprefix("Value error, ")
            lines.extend(f"{key}: {line}" if key else line for line in message.splitlines())
        else:
            lines.append(f"{key}: {item['msg']}; got {item['input']!r}")
    return lines


def _is_below(location: Sequence[str | int], parent: Sequence[str | int]) -> bool:
    return len(location) > len(parent) and location[: len(parent)] == parent


def _known_keys(section: type[BaseModel], location: Sequence[str]) -> list[str]:
    """The keys of the section at `location` below `section`."""
    current: Any = section
    for part in location:
        if part.isdigit():
            continue
        annotation = current.model_fields[part].annotation
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        models = [item for item in candidates if isinstance(item, type) and issubclass(item, BaseModel)]
        if not models:
            return []
        current = models[0]
    return list(current.model_fields)
