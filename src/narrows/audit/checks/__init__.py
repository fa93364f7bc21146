"""The checks, one a file: a function from the evidence to a finding, which is empty where the check does not apply.

A check depends on the type of the code (a posterior, indices, a sparse code), never on the method. To add one, write a
file and a line here.
"""

from __future__ import annotations

from collections.abc import Callable

from narrows.audit.checks.aggregate import aggregate_posterior
from narrows.audit.checks.budget import budget
from narrows.audit.checks.calibration import calibration
from narrows.audit.checks.closed_form import closed_form, predicted
from narrows.audit.checks.codebook import codebook_usage
from narrows.audit.checks.collapse import collapse
from narrows.audit.checks.decoder import decoder
from narrows.audit.checks.displacement import displacement
from narrows.audit.checks.dying import dying
from narrows.audit.checks.error import reconstruction_error
from narrows.audit.checks.factors import disentanglement
from narrows.audit.checks.firing import firing
from narrows.audit.checks.generated import generated_loss
from narrows.audit.checks.graph import graph
from narrows.audit.checks.holes import effective_width, prior_holes
from narrows.audit.checks.layers import layers
from narrows.audit.checks.likelihood import likelihood
from narrows.audit.checks.likeness import likeness
from narrows.audit.checks.modalities import modalities
from narrows.audit.checks.orthogonality import quasi_orthogonality
from narrows.audit.checks.principal import principal
from narrows.audit.checks.prior_bits import prior_bits
from narrows.audit.checks.prior_probe import prior_probe
from narrows.audit.checks.quantisation import quantisation
from narrows.audit.checks.rate import rate_and_distortion
from narrows.audit.checks.reconstructions import reconstructions
from narrows.audit.checks.recovery import recovery
from narrows.audit.checks.redundancy import redundancy
from narrows.audit.checks.representations import mean_and_sampled
from narrows.audit.checks.resolution import resolution
from narrows.audit.checks.samples import samples
from narrows.audit.checks.splice import splice
from narrows.audit.checks.strips import strips
from narrows.audit.checks.surface import surface
from narrows.audit.checks.table import table
from narrows.audit.checks.token_influence import token_influence
from narrows.audit.checks.traversals import traversals
from narrows.audit.checks.units import units
from narrows.audit.evidence.view import View
from narrows.audit.report.finding import Finding

__all__ = ["CHECKS"]

CHECKS: tuple[Callable[[View], Finding], ...] = (
    budget,
    collapse,
    reconstruction_error,
    calibration,
    decoder,
    resolution,
    principal,
    rate_and_distortion,
    closed_form,
    predicted,
    graph,
    modalities,
    likelihood,
    units,
    mean_and_sampled,
    codebook_usage,
    quantisation,
    likeness,
    firing,
    dying,
    redundancy,
    quasi_orthogonality,
    layers,
    recovery,
    splice,
    table,
    prior_bits,
    prior_probe,
    aggregate_posterior,
    prior_holes,
    generated_loss,
    effective_width,
    displacement,
    surface,
    disentanglement,
    reconstructions,
    samples,
    strips,
    token_influence,
    traversals,
)
"""All checks, in the order of the report."""
