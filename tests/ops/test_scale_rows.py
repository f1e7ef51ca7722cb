import pytest
import torch

from vaebias.errors import InputError
from vaebias.ops.scale_rows import scale_rows_, scale_rows_reference


@pytest.mark.parametrize("shape", [(3, 7), (2, 16), (1, 1), (4, 3, 5, 5), (0, 4), (3, 0)])
def test_rows_are_multiplied_where_they_are(shape, dtype, device, close):
    rows = torch.randn(shape, dtype=dtype).to(device)
    factors = torch.randn(shape[0], dtype=dtype).to(device)
    for given in (factors, factors.new_tensor(-1.5), factors.new_tensor(0.3).expand(shape[0])):
        found = rows.clone()
        assert scale_rows_(found, given).data_ptr() == found.data_ptr()
        close(found, scale_rows_reference(rows, given))


def test_rows_with_factor_one_keep_what_no_product_keeps(device):
    rows = torch.full((2, 5), torch.nan, device=device)
    payload = rows.view(torch.int32)
    payload += 1  # another NaN, which a product would make quiet or canonical
    before = payload.clone()
    scale_rows_(rows, torch.ones(2, device=device))
    assert torch.equal(rows.view(torch.int32), before)


def test_factors_that_lie_apart_are_read_where_they_lie(device):
    rows = torch.ones(3, 4, device=device)
    factors = torch.arange(6.0, device=device)[::2]
    assert torch.equal(scale_rows_(rows, factors)[:, 0], factors)


@pytest.mark.parametrize(
    ("rows", "factors", "message"),
    [
        (torch.ones(4, 6).mT, torch.ones(6), r"rows: expected a contiguous tensor, found strides"),
        (torch.ones(4, 6)[:, ::2], torch.ones(4), "rows: expected a contiguous tensor"),
        (torch.ones(4, 6), torch.ones(3), r"factors: expected one, or shape \[4\], found \[3\]"),
        (torch.ones(4, 6), torch.ones(4, 1), r"factors: .*found \[4, 1\]"),
    ],
)
def test_rows_that_are_views_and_other_numbers_of_factors_are_refused(rows, factors, message):
    with pytest.raises(InputError, match=message):
        scale_rows_(rows, factors)
    assert (rows == 1).all()


def test_operator_passes_opcheck(torch_device):
    rows, factors = torch.randn(3, 4, device=torch_device), torch.randn(3, device=torch_device)
    torch.library.opcheck(torch.ops.vaebias.scale_rows_.default, (rows, factors))
