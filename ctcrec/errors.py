"""Everything that ctcrec raises on purpose.

    CtcrecError
    ├── ConfigError            a configuration key, type or value; or options that do not go together
    ├── InputError             an argument of a public function (also a ValueError)
    │   └── InfeasibleError    a target that does not fit its frames (labels + repeats > frames)
    ├── DataError              something in a user's files
    │   ├── ManifestError      a row of a manifest; names file and line
    │   ├── MediaError         an audio or image file that cannot be used; names the file
    │   └── CorpusError        a corpus tree that is not laid out as expected; names the path
    ├── TextError              text that the tokenizer or a normalization cannot take
    ├── CheckpointError        a run directory or checkpoint that is incomplete, altered or of another version
    └── TrainingError          training cannot go on; says what to try

Each message says what was wrong, what was expected and what to do. The command line prints the message alone;
a traceback is shown only for errors that are not in this tree, because those are bugs of ctcrec.
"""

__all__ = [
    "CheckpointError",
    "ConfigError",
    "CorpusError",
    "CtcrecError",
    "DataError",
    "InfeasibleError",
    "InputError",
    "ManifestError",
    "MediaError",
    "TextError",
    "TrainingError",
]


class CtcrecError(Exception):
    """Base of all errors that ctcrec raises on purpose."""


class ConfigError(CtcrecError):
    """A configuration key, type or value is wrong, or two options do not go together."""


class InputError(CtcrecError, ValueError):
    """An argument of a public function is wrong: shape, dtype, device, range or length."""


class InfeasibleError(InputError):
    """A target cannot fit its frames: labels + repeats > frames."""


class DataError(CtcrecError):
    """Something in the user's files is wrong."""


class ManifestError(DataError):
    """A manifest row is malformed; the message starts with `file:line:`."""


class MediaError(DataError):
    """An audio or image file is missing, truncated, of the wrong kind or unusable; the message names it."""


class CorpusError(DataError):
    """A corpus folder is not laid out as expected; the message names the path."""


class TextError(CtcrecError):
    """Text that the tokenizer or a normalization cannot take."""


class CheckpointError(CtcrecError):
    """A checkpoint is incomplete, altered, or made by an incompatible version."""


class TrainingError(CtcrecError):
    """Training cannot start or go on; the message says what to try."""
