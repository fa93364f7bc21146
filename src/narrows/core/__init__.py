"""The contracts: batches, codes, specs, and the parts of every autoencoder.

Names are imported on first use, so that `check` and `files` do not import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from narrows.core.lazy import lazily

if TYPE_CHECKING:
    from narrows.core.autoencoder import Autoencoder as Autoencoder
    from narrows.core.autoencoder import evaluation_mode as evaluation_mode
    from narrows.core.code import Code as Code
    from narrows.core.code import Completion as Completion
    from narrows.core.code import Loss as Loss
    from narrows.core.code import Pass as Pass
    from narrows.core.code import target_weight as target_weight
    from narrows.core.column import Column as Column
    from narrows.core.evidence import Evidence as Evidence
    from narrows.core.objective import Objective as Objective
    from narrows.core.objective import Penalty as Penalty
    from narrows.core.parts import Accumulator as Accumulator
    from narrows.core.parts import Bottleneck as Bottleneck
    from narrows.core.parts import Likelihood as Likelihood
    from narrows.core.parts import Part as Part
    from narrows.core.prior import Prior as Prior
    from narrows.core.spec import Spec as Spec
    from narrows.core.spec import as_spec as as_spec
    from narrows.core.stages import Player as Player
    from narrows.core.stages import Stage as Stage
    from narrows.core.surface import Surface as Surface
    from narrows.core.symbols import Symbols as Symbols
    from narrows.core.symbols import TokenLayout as TokenLayout
    from narrows.core.values import NO_CONDITION as NO_CONDITION
    from narrows.core.values import NO_WIDTHS as NO_WIDTHS
    from narrows.core.values import Batch as Batch
    from narrows.core.values import Condition as Condition
    from narrows.core.values import Sparse as Sparse
    from narrows.core.values import Tree as Tree
    from narrows.core.values import Views as Views
    from narrows.core.values import Widths as Widths
    from narrows.core.values import all_sum as all_sum
    from narrows.core.values import cat_padded as cat_padded
    from narrows.core.values import dense as dense
    from narrows.core.values import same_batch as same_batch
    from narrows.core.values import seeded as seeded
    from narrows.core.values import tree_map as tree_map

_HOMES = {
    "Autoencoder": "autoencoder",
    "evaluation_mode": "autoencoder",
    "Code": "code",
    "Loss": "code",
    "Completion": "code",
    "Pass": "code",
    "target_weight": "code",
    "Column": "column",
    "Evidence": "evidence",
    "Objective": "objective",
    "Penalty": "objective",
    "Accumulator": "parts",
    "Bottleneck": "parts",
    "Likelihood": "parts",
    "Part": "parts",
    "Prior": "prior",
    "Spec": "spec",
    "as_spec": "spec",
    "Player": "stages",
    "Stage": "stages",
    "Surface": "surface",
    "Symbols": "symbols",
    "TokenLayout": "symbols",
    "NO_CONDITION": "values",
    "NO_WIDTHS": "values",
    "Batch": "values",
    "Condition": "values",
    "Sparse": "values",
    "Tree": "values",
    "Views": "values",
    "Widths": "values",
    "all_sum": "values",
    "cat_padded": "values",
    "dense": "values",
    "same_batch": "values",
    "seeded": "values",
    "tree_map": "values",
}

__all__ = [*_HOMES]


__getattr__ = lazily(__name__, _HOMES)
