"""One torch thread a test process: tests run two at a time on two cores."""

import torch

torch.set_num_threads(1)
