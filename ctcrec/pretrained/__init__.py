"""Models that come with ctcrec, one folder a model, and further ones in the folders that CTCREC_MODELS names.

A model's folder is a checkpoint (`ctcrec.checkpoint`) with a decoding.yaml if it has one, `about.yaml` with what
`ctcrec models` shows, `card.md` and the licence of its weights. Nothing is ever downloaded.
"""

from ctcrec.pretrained.about import ABOUT_FILE, About, Score, read_about, write_about
from ctcrec.pretrained.catalogue import FOLDERS_VARIABLE, default_model, find_model, list_models, model_folders

__all__ = [
    "ABOUT_FILE",
    "FOLDERS_VARIABLE",
    "About",
    "Score",
    "default_model",
    "find_model",
    "list_models",
    "model_folders",
    "read_about",
    "write_about",
]
