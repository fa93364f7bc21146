"""Dynamic quantisation against a loop over cells, and its symbols of varying number."""

import pytest
import torch

from narrows.bottlenecks.discrete.dynamic import DynamicQuantizer
from narrows.core import Batch, Pass
from narrows.core.check import RequestError
from narrows.core.evidence import FineCells, Indices
from narrows.methods.quantised.dq_vae import dq_vae
from narrows.objectives.cell_budget import CellBudget
from narrows.runs.codes import pack, unpack

GRIDS = ((2, 3), (4, 5))


def made(**options):
    torch.manual_seed(0)
    return DynamicQuantizer(3, codes=7, grids=GRIDS, **options).double().eval(), torch.randn(
        6, 26, 3
    ).double()


def test_cells_have_the_nearest_code_of_their_own_token_or_of_each_finer_one():
    vq, x = made()
    code = vq(x)
    coarse, fine = x[:, :6].reshape(6, 2, 3, 3), x[:, 6:].reshape(6, 4, 5, 3)
    symbols, commitment, lengths = vq.to_symbols(code), torch.zeros(6).double(), torch.zeros(6).long()
    for b in range(6):
        for r in range(2):
            for c in range(3):
                places = [(i, j) for i in (2 * r, 2 * r + 1) for j in (2 * c, 2 * c + 1) if j < 5]
                pooled = torch.stack([fine[b, i, j] for i, j in places]).mean(0)
                logits = vq.gate(torch.cat([coarse[b, r, c], pooled]))
                is_fine = bool(logits[1] > logits[0])
                assert int(symbols[b, 3 * r + c]) == is_fine
                assert float(code[FineCells].gates[b, 3 * r + c]) == is_fine
                lengths[b] += len(places) if is_fine else 1
                for n, (i, j) in enumerate(places):
                    row = fine[b, i, j] if is_fine else coarse[b, r, c]
                    k = min(range(7), key=lambda k: float((row - vq.book.codebook[k]).square().sum()))
                    assert int(symbols[b, 6 + 5 * i + j]) == (k if is_fine or n == 0 else 7)
                    assert torch.equal(code.z[b, 5 * i + j], vq.book.codebook[k])
                    weight = 1.0 if is_fine else 1 / len(places)
                    commitment[b] += weight * (row - vq.book.codebook[k]).square().sum()
    assert torch.allclose(code.costs["commitment"], commitment)
    assert torch.equal(vq.lengths(code), lengths)
    assert len(lengths.unique()) > 1
    assert torch.equal(vq.from_symbols(symbols).z, code.z)
    assert torch.equal(vq.to_symbols(vq.from_symbols(symbols)), symbols)


def test_the_gate_learns_by_straight_through_gumbel_draws():
    vq, x = made()
    vq.train()
    torch.manual_seed(3)
    drawn = torch.stack([vq(x)[FineCells].gates for _ in range(800)])
    assert set(drawn.unique().tolist()) <= {0.0, 1.0}
    coarse, fine = x[:, :6].mT.reshape(6, 3, 2, 3), x[:, 6:].mT.reshape(6, 3, 4, 5)
    pooled = torch.nn.functional.avg_pool2d(fine, 2, ceil_mode=True, count_include_pad=False)
    logits = vq.gate(torch.cat([coarse, pooled], 1).flatten(2).mT)
    assert torch.allclose(drawn.mean(0), logits.softmax(-1)[..., 1], atol=0.1)
    vq(x)[FineCells].gates.sum().backward()
    assert vq.gate.weight.grad.abs().sum() > 0


def test_a_coarse_cell_counts_once_for_its_code():
    vq, x = made(fixed=0.5, codebook="ema:decay=0.001,restart=0")
    vq.train().after_step(Pass(Batch(x), code := vq(x)))
    there = vq.present(code[FineCells].gates)
    counts = torch.bincount(code[Indices].indices[there], minlength=7)
    assert torch.allclose(vq.book.counts, counts.double(), atol=0.1)
    assert int(there.sum()) == int(vq.lengths(code).sum())


@pytest.mark.parametrize(("share", "wanted"), [(0.0, 0), (0.5, 3), (1.0, 6)])
def test_a_fixed_gate_has_its_share_of_fine_cells(share, wanted):
    vq, x = made(fixed=share)
    gates = vq(x)[FineCells].gates
    assert int(gates[0].sum()) == wanted
    assert torch.equal(gates, gates[:1].expand(6, -1))


def test_the_budget_is_the_squared_distance_from_the_share():
    torch.manual_seed(0)
    model = dq_vae((1, 16, 16), codes=8, width=4, share=0.3, prior="none")
    passed = model(Batch(torch.rand(5, 1, 16, 16)))
    gates = passed.code[FineCells].gates
    assert float(CellBudget(1.0, 0.3)(model, passed)["budget"]) == pytest.approx(
        256 * (float(gates.sum()) / gates.numel() - 0.3) ** 2, rel=1e-4
    )


def test_encoded_files_give_lengths_and_are_decoded():
    torch.manual_seed(0)
    model = dq_vae((1, 16, 16), codes=8, width=4).eval()
    batch = Batch(torch.rand(5, 1, 16, 16))
    packed = pack(model, batch)
    assert torch.equal(packed["lengths"], model.bottleneck.lengths(model.encode(batch)))
    [(z, _)] = unpack(model, {name: array.numpy() for name, array in packed.items()})
    assert torch.equal(z, model.encode(batch).z)
    assert model.prior.symbols.codes == 9
    assert model.symbols_of(batch) == model.bottleneck.symbols


def test_symbols_that_lack_an_index_are_decoded_and_others_refused():
    vq, _ = made()
    none = torch.full((1, 26), 7)
    none[:, :6] = 1
    assert torch.equal(vq.from_symbols(none).z, vq.book.codebook[0].expand(1, 20, 3))
    with pytest.raises(RequestError, match="from 0 to 7"):
        vq.from_symbols(none + 1)
    with pytest.raises(RequestError, match="grids"):
        DynamicQuantizer(3, codes=4, grids=((2, 2), (3, 5)))
