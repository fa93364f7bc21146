"""Pictures of several runs in one gallery."""

import torch

from narrows.audit.report.compared import Column, Measured
from narrows.audit.report.finding import Gallery
from narrows.audit.report.galleries import shared_galleries
from narrows.audit.report.report import Report


def test_samples_of_a_compared_run_are_of_every_class():
    rows = tuple((f"class {c}", torch.full((6, 1, 2, 2), float(c))) for c in range(3))
    gallery = Gallery("samples", "Samples", "Decoded draws of the prior.", rows)
    column = Column("mine", [Measured({"run": "mine"}, [], Report("vq-vae", "digits", {}, (), (gallery,)))])
    (shared,) = shared_galleries([column])
    ((name, shown),) = shared.rows
    assert name == "mine"
    assert shown[:, 0, 0, 0].tolist() == [0, 1, 2, 0, 1, 2]
