"""The doctor: what is wrong with a configuration and its data before training, or with a run after it.

`diagnose_config` and `diagnose_run` look at everything they can and give a `Diagnosis`: findings, each with a number, a
limit and the reason for it, and a thing to try. The modules beside them each look at one thing.
"""

from ctcrec.diagnosis.after import diagnose_run
from ctcrec.diagnosis.before import diagnose_config
from ctcrec.diagnosis.result import Diagnosis

__all__ = ["Diagnosis", "diagnose_config", "diagnose_run"]
