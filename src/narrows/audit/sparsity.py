"""Error and activity of sparse codes: FVU, L0, firing density, dead latents; defined in `narrows.measures`."""

from narrows.measures import code_count, dead, density, firings, fvu, l0

__all__ = ["code_count", "dead", "density", "firings", "fvu", "l0"]
