r"""Evaluations: figures of the audit that are measured on request (``narrows audit RUN --with NAME,NAME``).

To add one, write a file with a subclass of `Evaluation` and a line in `EVALUATIONS`. Each figure is a
`narrows.audit.report.finding.Check` with

``chance``
    the same figure of a control without information, measured on the same examples. For sparse codes the control is
    `View.control`, a random dictionary of equal shape and L0 with its codes and reconstructions of the audit's
    examples; ``view.control.model`` is an autoencoder that encodes, decodes and reconstructs any other batch.
    `narrows.audit.evidence.control.random_dictionary` makes one for other examples or sizes. For labels and pairings
    the control is a shuffle.
``spread``
    the standard deviation over five evaluations of the same model with other examples and splits:
    ``reseed(measure, view.seed)`` in `narrows.audit.evidence.reseeds` calls ``measure(seed)``, which draws its tokens
    and splits with that seed and returns figures by name, and gives mean and spread of each.
    ``spread(figure, count, view.seed)`` is a shortcut for a figure of rows that are known already: the rows are
    redrawn with replacement.
``n``
    the number of tokens or examples that the figure rests on.

A figure whose premise fails is ``not_measured(name, reason)``; an evaluation that does not apply to a model says so in
`Evaluation.lacks`. The names of its checks begin with the evaluation's name and a slash.

The page *What each figure means* is generated from the docstrings of the classes. A docstring has, in this order: one
line; the equation (``.. math::``); three paragraphs that begin with ``Chance:``, ``Cost:`` and ``Misleads when:``; the
sections ``Args`` (its options), ``Example`` and ``Reference``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from narrows.core.spelling import Table

if TYPE_CHECKING:
    from narrows.audit.evaluations.evaluation import Evaluation

__all__ = ["EVALUATIONS"]

EVALUATIONS: Table[Evaluation] = Table(
    "evaluations",
    "narrows.audit.evaluations.evaluation:Evaluation",
    {
        "absorption": "narrows.audit.evaluations.absorption:Absorption",
        "classes": "narrows.audit.evaluations.classes:Classes",
        "dark-matter": "narrows.audit.evaluations.dark_matter:DarkMatter",
        "board": "narrows.audit.evaluations.board:BoardGame",
        "generation": "narrows.audit.evaluations.generation:Generation",
        "mdl": "narrows.audit.evaluations.mdl:MDL",
        "splice": "narrows.audit.evaluations.splice:Splice",
        "probing": "narrows.audit.evaluations.probing:Probing",
        "ravel": "narrows.audit.evaluations.ravel:Ravel",
        "series": "narrows.audit.evaluations.series:SeriesScores",
        "scr": "narrows.audit.evaluations.perturbation:SCR",
        "stretches": "narrows.audit.evaluations.stretches:Stretches",
        "tpp": "narrows.audit.evaluations.perturbation:TPP",
    },
    words={"all": "every evaluation that this model and these data admit"},
)
"""The evaluations that a text can name."""
