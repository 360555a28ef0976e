"""Speech: audio files, log-mel features, augmentation. Importing this package imports neither torchaudio nor PyAV."""

from ctcrec.speech.preprocessor import SpeechPreprocessor

__all__ = ["SpeechPreprocessor"]
