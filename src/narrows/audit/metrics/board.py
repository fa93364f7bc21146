"""What single latents say about a board: coverage, reconstruction from latents of high precision, linear probes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["Board", "Probe", "board_figures", "probe_figures", "properties"]

THRESHOLDS = tuple(n / 10 for n in range(11))
"""Thresholds of a latent, as shares of its largest activation."""

_PRECISION, _FIRINGS, _CHUNK = 0.95, 10, 4096


class Board(NamedTuple):
    """Figures of one set of latents, on held-out positions.

    Args:
        coverage: mean over properties of the F1 of the best latent and threshold, chosen on other positions.
        reconstruction: mean F1 of boards that are predicted by the latents of high precision.
    """

    coverage: float
    reconstruction: float


def properties(board: Tensor, empty: bool = False) -> Tensor:
    """The properties of boards: a square is mine, yours, or (with `empty`) empty; (T, 128) or (T, 192) bool.

    Args:
        board: 0 empty, 1 mine, 2 yours, (T, 64).
        empty: whether empty squares are properties.

    Example:
        >>> properties(torch.tensor([[0, 1, 2]]), empty=True).int()
        tensor([[0, 1, 0, 0, 0, 1, 1, 0, 0]], dtype=torch.int32)
    """
    return torch.cat([board == content for content in ((1, 2, 0) if empty else (1, 2))], 1)


def board_figures(train: Tensor, seen: Tensor, test: Tensor, truth: Tensor) -> Board:
    r"""Coverage and board reconstruction of latents.

    .. math:: \mathrm{coverage} = \frac{1}{P} \sum_g F_1(\phi_g, g), \qquad
        \phi_g = \arg\max_{j, t} F_1(z_j > t\, m_j, g)

    m_j is the largest activation of latent j. For the reconstruction, a latent at a threshold stands for each property
    that is true in at least 95% of the (10 or more) training positions where it is on; a board is predicted by the
    union of what its latents stand for. The threshold is the one with the best training boards, the same for all.

    Args:
        train: activations of latents, (T, N).
        seen: properties of these positions, (T, P) bool.
        test: activations at held-out positions, (S, N).
        truth: their properties, (S, P) bool.

    Example:
        >>> board = torch.rand(400, 20) < 0.5
        >>> board_figures(board[:200].float(), board[:200], board[200:].float(), board[200:])
        Board(coverage=1.0, reconstruction=1.0)

    Reference:
        Karvonen et al., Measuring progress in dictionary learning for language model interpretability with board game
        models, 2024. arXiv:2408.00113
    """
    largest = train.amax(0).clamp_min(1e-30)
    there = seen.float()
    count = there.sum(0)
    best = torch.full((seen.shape[1],), -1.0)
    latent, at = torch.zeros(2, seen.shape[1]).long()
    boards, level = -1.0, 0.0
    precise = torch.zeros(train.shape[1], seen.shape[1], dtype=torch.bool)
    for number, threshold in enumerate(THRESHOLDS):
        on = (train > threshold * largest).float()
        fires, together = on.sum(0), on.T @ there
        match = 2 * together / (fires[:, None] + count).clamp_min(1)
        top, who = match.max(0)
        better = top > best
        best, latent, at = (
            torch.where(better, new, old)
            for new, old in ((top, best), (who, latent), (torch.full_like(at, number), at))
        )
        stands = (together >= _PRECISION * fires[:, None]) & (fires[:, None] >= _FIRINGS)
        score = _boards(on, stands, seen)
        if score > boards:
            boards, level, precise = score, threshold, stands
    chosen = test[:, latent] > torch.tensor(THRESHOLDS)[at] * largest[latent]
    coverage = _f1(chosen, truth, 0).mean()
    return Board(float(coverage), _boards((test > level * largest).float(), precise, truth))


def _boards(on: Tensor, stands: Tensor, truth: Tensor) -> float:
    """The mean F1 of boards that are predicted by the latents that are on."""
    used = stands.any(1)
    meaning = stands[used].float()
    scores = [
        _f1(some[:, used] @ meaning > 0, real, 1)
        for some, real in zip(on.split(_CHUNK), truth.split(_CHUNK), strict=True)
    ]
    return float(torch.cat(scores).mean())


def _f1(guess: Tensor, truth: Tensor, axis: int) -> Tensor:
    """F1 along an axis; 0 where nothing is guessed and nothing is true."""
    both = (guess & truth).sum(axis)
    return 2 * both / (guess.sum(axis) + truth.sum(axis)).clamp_min(1)


class Probe(NamedTuple):
    """Linear probes of the 64 squares.

    Args:
        mean: of the activations, (D,).
        scale: their standard deviations, (D,).
        weights: of the logits, a bias last, (D + 1, 192).
    """

    mean: Tensor
    scale: Tensor
    weights: Tensor

    @classmethod
    def fit(cls, x: Tensor, board: Tensor, steps: int = 40) -> Probe:
        """Multinomial regression of the content of each square.

        Args:
            x: activations, (T, D).
            board: content of the squares, (T, 64) of 0, 1, 2.
            steps: iterations of L-BFGS, which begins at the least-squares solution.
        """
        probe = cls(x.mean(0), x.std(0).clamp_min(1e-6), torch.empty(0))
        near = probe._inputs(x)
        wanted = F.one_hot(board.long(), 3).flatten(1).float()
        gram = near.T @ near + 1e-3 * len(near) * torch.eye(near.shape[1])
        with torch.enable_grad():
            weights = (3 * torch.linalg.solve(gram, near.T @ wanted)).contiguous().requires_grad_()
            optimizer = torch.optim.LBFGS([weights], max_iter=steps, line_search_fn="strong_wolfe")

            def loss() -> Tensor:
                optimizer.zero_grad()
                logits = (near @ weights).unflatten(1, (-1, 3)).transpose(1, 2)
                found = F.cross_entropy(logits, board.long()) + 1e-5 * weights.square().sum()
                found.backward()
                return found

            optimizer.step(loss)
        return probe._replace(weights=weights.detach())

    def __call__(self, x: Tensor) -> Tensor:
        """The probabilities of each content of each square, (S, 64, 3)."""
        return (self._inputs(x) @ self.weights).unflatten(1, (-1, 3)).softmax(-1)

    def _inputs(self, x: Tensor) -> Tensor:
        return torch.cat([(x - self.mean) / self.scale, torch.ones(len(x), 1)], 1).float()


def probe_figures(
    probe: Probe, x: Tensor, board: Tensor, test: Tensor, truth: Tensor, empty: bool = False
) -> Board:
    """The figures of linear probes: their probabilities as latents for the coverage, their boards for reconstruction.

    Args:
        probe: fitted to x.
        x: activations, (T, D).
        board: content of the squares, (T, 64).
        test: held-out activations, (S, D).
        truth: content of their squares, (S, 64).
        empty: as for `properties`.
    """
    kinds = (1, 2, 0) if empty else (1, 2)
    near, far = (torch.cat([probe(part)[..., kind] for kind in kinds], 1) for part in (x, test))
    covered = board_figures(near, properties(board, empty), far, properties(truth, empty)).coverage
    guess = properties(probe(test).argmax(-1), empty)
    return Board(covered, float(_f1(guess, properties(truth, empty), 1).mean()))
