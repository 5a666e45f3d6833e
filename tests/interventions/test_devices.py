"""Where a model is spread over several devices r̂ follows each activation. Fake GPUs: torch checks devices, computes nothing."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorDeviceMismatchError, FakeTensorMode

from rhat.interventions import OPERATORS
from rhat.interventions.intervention import DirectionEdit
from rhat.model.dispatch import Group, PerRow
from rhat.model.positions import Scope, TokenContext


def context(rows=2, seq=5):
    lengths = torch.full((rows,), seq)
    return TokenContext(
        torch.arange(seq).expand(rows, seq),
        torch.ones(rows, seq, dtype=torch.bool),
        lengths,
        lengths - 2,
        torch.arange(rows),
        False,
    )


@pytest.mark.parametrize("op", OPERATORS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_the_direction_is_moved_to_each_activations_device(op, dtype):
    where = context()
    with FakeTensorMode(allow_non_fake_inputs=True):
        edit = DirectionEdit(OPERATORS[op], torch.empty(8, device="cuda:0"), 2.0, Scope("all"))
        for device in ("cuda:1", "cuda:0", "cpu"):
            x = torch.empty(2, 5, 8, dtype=dtype, device=device)
            for done in (edit(x, where), PerRow(((edit, Group(None)),))(x, where)):
                assert (done.device, done.dtype, done.shape) == (x.device, x.dtype, x.shape)


def test_a_direction_left_where_it_is_would_be_noticed():
    with FakeTensorMode(), pytest.raises(FakeTensorDeviceMismatchError):
        torch.empty(2, 5, 8, device="cuda:1") @ torch.empty(8, device="cuda:0")
