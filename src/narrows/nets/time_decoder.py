"""A decoder of windows as the sum of a trend, seasons and a residual."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from narrows.core.check import refuse, whole
from narrows.nets.kinds import Net
from narrows.nets.mlp import dense_layers
from narrows.nets.windows import Waves, WindowDecoder

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
    residual r of a net. Level and trend have a hidden layer, seasons are linear. With times, t is the place of a step
    in time (`Waves`), for seasons the nearest equal step.

    Args:
        latent: width of the code, Z.
        shape: (T, C).
        trend: degree of the trend, P; 0 for none.
        seasons: pairs (m, d).
        residual: the net of the residual; None for none.
        timed: whether the data have times.

    Raises:
        RequestError: a negative degree.

    Example:
        >>> decoder = TimeDecoder(2, (6, 3), trend=2, seasons=((3, 1),))
        >>> {name: tuple(part.shape) for name, part in decoder.parts(torch.zeros(4, 2)).items()}
        {'level': (4, 1, 3), 'trend': (4, 6, 3), 'season-3x1': (4, 6, 3)}
    """

    def __init__(
        self,
        latent: int,
        shape: tuple[int, int],
        trend: int = 0,
        seasons: Sequence[tuple[int, int]] = (),
        residual: Net | None = None,
        timed: bool = False,
    ) -> None:
        super().__init__()
        length, channels = shape
        degree = whole("trend", trend, low=0)
        self.shape, self.seasons = (length, channels), tuple(seasons)
        self.level = dense_layers((latent, channels, channels))
        width = channels * degree
        self.trend = dense_layers((latent, width, width)) if degree else None
        self.season = nn.ModuleList(nn.Linear(latent, count * channels) for count, _ in self.seasons)
        self.degree, self.waves = degree, Waves(length) if timed else None
        self.residual: nn.Module | None = None
        if residual is not None:
            net = residual.decoder(latent, shape)
            self.residual = WindowDecoder(net, length) if timed else net

    def parts(self, z: Tensor, condition: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """The parts by name for codes (*samples, B, Z), each (*samples, B, T, C); the level has one step."""
        length, channels = self.shape
        condition = condition or {}
        places = torch.arange(length, device=z.device).to(z)  # (T,), or (B, T)
        if self.waves is not None and "times" in condition:
            places = self.waves.places(condition).to(z)
        found = {"level": self.level(z).unsqueeze(-2)}
        if self.trend is not None:
            powers = torch.stack([(places / length) ** p for p in range(1, self.degree + 1)], -1)
            found["trend"] = powers @ self.trend(z).unflatten(-1, (-1, channels))
        for (count, steps), net in zip(self.seasons, self.season, strict=True):
            values = net(z).unflatten(-1, (count, channels))
            index = (places.round().long() // steps % count).unsqueeze(-1)
            found[f"season-{count}x{steps}"] = values.gather(
                -2, index.expand(*values.shape[:-2], length, channels)
            )
        if self.residual is not None:
            found["residual"] = self.residual(z, condition)
        return found

    def forward(self, z: Tensor, condition: Mapping[str, Tensor] | None = None) -> Tensor:
        """Codes (*samples, B, Z) -> (*samples, B, T, C)."""
        return sum(self.parts(z, condition).values(), z.new_zeros(self.shape))
