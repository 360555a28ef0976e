"""Readers of corpora on disk, one module each. Each turns a source folder into `Prepared` splits of examples."""

from ctcrec.corpora.prepared import LeftOut, Prepared, write_prepared

__all__ = ["LeftOut", "Prepared", "write_prepared"]
