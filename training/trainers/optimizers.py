"""torch's optimizers without torch's compiler: its import takes each rank two seconds of processor time.

torch imports it in the first call of these methods, to exclude them from a compilation. Nothing is compiled here.
"""

import inspect

import torch


class Eager(torch.optim.Optimizer):
    """What every optimizer has."""

    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.Optimizer.zero_grad)
    state_dict = inspect.unwrap(torch.optim.Optimizer.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.Optimizer.load_state_dict)


class Adam(Eager, torch.optim.Adam):
    step = torch.no_grad()(inspect.unwrap(torch.optim.Adam.step))


class AdamW(Eager, torch.optim.AdamW):
    step = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))


class SparseAdam(Eager, torch.optim.SparseAdam):
    pass
