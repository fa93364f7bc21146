"""A decoder of windows as the sum of a trend, seasons and a residual."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from narrows.core.check import refuse, whole
from narrows.nets.kinds import Net
from narrows.nets.mlp import dense_layers

__all__ = ["TimeDecoder", "seasons_of"]


def seasons_of(text: str) -> tuple[tuple[int, int], ...]:
    """Read seasons: numbers of seasons and their steps, such as ``24`` (24 seasons of one step) and ``7x24``.

    Raises:
        RequestError: other text, or a period of one season.

    Example:
        >>> seasons_of("24,7x24")
        ((24, 1), (7, 24))
    """
    found = []
    for part in filter(None, (p.strip() for p in text.split(","))):
        count, _, steps = part.partition("x")
        try:
            pair = int(count), int(steps or 1)
        except ValueError:
            pair = 0, 0
        if pair[0] < 2 or pair[1] < 1:
            raise refuse(
                "seasons", text, "numbers of seasons, at least 2, and their steps", "Try ``24`` or ``7x24``."
            )
        found.append(pair)
    return tuple(found)


class TimeDecoder(nn.Module):
    r"""Decodes a code to a window (T, C), as a sum of parts.

    .. math:: \hat x_{tc} = \ell_c(z) + \sum_{p=1}^P a_{pc}(z)\, (t/T)^p
              + \sum_j s^{(j)}_{\lfloor t / d_j \rfloor \;\mathrm{mod}\; m_j,\, c}(z) + r_{tc}(z)

    A level, a trend of degree P, seasons :math:`s^{(j)}` with :math:`m_j` values of :math:`d_j` steps each, and the
    residual r of a net. Level and trend have a hidden layer, seasons are linear.

    Args:
        latent: width of the code, Z.
        shape: (T, C).
        trend: degree of the trend, P; 0 for none.
        seasons: pairs (m, d).
        residual: the net of the residual; None for none.

    Raises:
        RequestError: a negative degree.

    Example:
        >>> decoder = TimeDecoder(2, (6, 3), trend=2, seasons=((3, 1),))
        >>> {name: tuple(part.shape) for name, part in decoder.parts(torch.zeros(4, 2)).items()}
        {'level': (4, 1, 3), 'trend': (4, 6, 3), 'season-3x1': (4, 6, 3)}
    """

    powers: Tensor

    def __init__(
        self,
        latent: int,
        shape: tuple[int, int],
        trend: int = 0,
        seasons: Sequence[tuple[int, int]] = (),
        residual: Net | None = None,
    ) -> None:
        super().__init__()
        length, channels = shape
        degree = whole("trend", trend, low=0)
        self.shape, self.seasons = (length, channels), tuple(seasons)
        self.level = dense_layers((latent, channels, channels))
        width = channels * degree
        self.trend = dense_layers((latent, width, width)) if degree else None
        self.season = nn.ModuleList(nn.Linear(latent, count * channels) for count, _ in self.seasons)
        self.residual = None if residual is None else residual.decoder(latent, shape)
        t = torch.arange(length)
        self.register_buffer(
            "powers",
            torch.stack([(t / length) ** p for p in range(1, degree + 1)], 1)
            if degree
            else torch.zeros(length, 0),
        )
        self.places = [(t // steps) % count for count, steps in self.seasons]

    def parts(self, z: Tensor, condition: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """The parts by name for codes (*samples, B, Z), each (*samples, B, T, C); the level has one step."""
        channels = self.shape[1]
        found = {"level": self.level(z).unsqueeze(-2)}
        if self.trend is not None:
            found["trend"] = self.powers @ self.trend(z).unflatten(-1, (-1, channels))
        for (count, steps), net, places in zip(self.seasons, self.season, self.places, strict=True):
            values = net(z).unflatten(-1, (count, channels))
            found[f"season-{count}x{steps}"] = values.index_select(-2, places.to(z.device))
        if self.residual is not None:
            found["residual"] = self.residual(z, condition or {})
        return found

    def forward(self, z: Tensor, condition: Mapping[str, Tensor] | None = None) -> Tensor:
        """Codes (*samples, B, Z) -> (*samples, B, T, C)."""
        return sum(self.parts(z, condition).values(), z.new_zeros(self.shape))
