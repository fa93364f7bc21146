"""A small causal language model of Othello games, trained on demand and cached; an interrupted training goes on."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from narrows.core.check import NarrowsError, WorkError, choice, optional, refuse, whole
from narrows.core.progress import Progress, Silent
from narrows.core.schedules import cosine
from narrows.core.tensorfile import read_tensors, write_tensors
from narrows.data import othello
from narrows.data.named.fetch import located
from narrows.data.named.registry import expand
from narrows.testing.small_lm import cached, keep

__all__ = ["GAMES", "held_out_games", "legal_moves", "othello_lm", "training_games"]

_VERSION = 1
_START, _UNKNOWN = "<|start|>", "<|unknown|>"
_HELD_OUT, _SAVED_EVERY = 3000, 250
_PER_MINUTE = 6.3e8
"""Games times blocks times squared width that one core trains on in a minute, about."""

GAMES = ("auto", "recorded", "random")
"""``recorded``: tournament games (the data set `othello`). ``random``: every move is drawn from the legal ones.
``auto``: recorded games where they are, else random ones."""

TARGETS = ("legal", "played")
"""What a move is predicted to be: uniform over the legal moves, or the move of the game."""


def othello_lm(
    games: str = "auto",
    *,
    target: str = "legal",
    width: int = 128,
    layers: int = 4,
    heads: int = 4,
    steps: int = 3000,
    batch_size: int = 64,
    lr: float = 2e-3,
    seed: int = 0,
    progress: bool | Silent = False,
) -> Path:
    r"""Train a GPT-2-type language model on Othello games, one token a move, or load it from the cache.

    .. math:: \min_\theta \; E_{t} \Big[ - \sum_{m} q(m \mid m_{<t}) \log p_\theta(m \mid m_{<t}) \Big]

    With ``target="legal"``, q is uniform over the legal moves: the expected loss of a player who moves at random
    from the positions of these games. It has the same minimum as the loss of random games, and less variance. With
    ``target="played"``, q is the move of the game. At its defaults the training takes about twenty minutes of one
    core. Its state is saved on the way, and the same call goes on after an interruption.

    Args:
        games: of `GAMES`.
        target: of `TARGETS`.
        width: width of the residual stream.
        layers: number of blocks.
        heads: number of attention heads of a block.
        steps: number of steps, of Muon for the matrices of the blocks and of AdamW for the rest; 0 gives an untrained
            model.
        batch_size: games per step.
        lr: learning rate, warmed up over a twentieth of the steps, then a cosine to a hundredth.
        seed: seed of initialisation, of the order, and of random games.
        progress: show a progress bar, or an open one.

    Returns:
        A folder in the format of transformers, in the cache folder. Its tokenizer reads games as words, ``f5 d6 c3``,
        one game a text, and puts a start token before each.

    Raises:
        RequestError: an argument is out of range.
        WorkError: transformers is not installed, or recorded games are asked for and absent.
    """
    transformers = optional("transformers", "language", "train a small language model")
    games, target = _source(games), choice("target", target, TARGETS)
    if width % heads:
        raise refuse("heads", heads, f"a divisor of the width, {width}")
    told = [_VERSION, games, target, width, layers, heads, steps, batch_size, lr, seed]
    folder = cached("othello", told)
    if (folder / "config.json").is_file():
        return folder
    with torch.random.fork_rng(devices=[]), _display(progress) as shown:
        torch.manual_seed(seed)
        model = _model(transformers, width, layers, heads)
        if whole("steps", steps, low=0):
            minutes = steps * batch_size * layers * width**2 / _PER_MINUTE
            if minutes >= 1:
                shown.say(
                    f"A language model of Othello is trained first: about {minutes:.0f} minutes of one core. "
                    f"It is kept in {folder.parent}, and an interrupted training goes on."
                )
            batches = _Batches(training_games(games, steps * batch_size, seed), batch_size, seed, target)
            _train(model, batches, steps, lr, folder.with_suffix(".training"), shown)
    keep(folder, model.eval(), _tokenizer(transformers))
    with suppress(OSError):
        folder.with_suffix(".training").unlink()
    return folder


def _display(progress: bool | Silent) -> Silent:
    return progress if isinstance(progress, Silent) else Progress() if progress else Silent()


def _source(games: str) -> str:
    if choice("games", games, GAMES) != "auto":
        return games
    return "random" if located(expand("othello")) is None else "recorded"


def training_games(games: str, count: int, seed: int = 0) -> np.ndarray:
    """Games for training, (G, 60), at most `count` of them; no game of `held_out_games` is among them.

    Args:
        games: of `GAMES`.
        count: largest number of games.
        seed: of random games.
    """
    if _source(games) == "random":
        return othello.random_games(whole("count", count), seed=2 * seed)
    return _recorded()[_HELD_OUT:][: whole("count", count)]


def held_out_games(games: str = "auto", count: int = _HELD_OUT, seed: int = 0) -> np.ndarray:
    """Games that no training has seen, (count, 60).

    Args:
        games: of `GAMES`.
        count: number of games, at most 3000.
        seed: of random games.
    """
    whole("count", count, high=_HELD_OUT)
    if _source(games) == "random":
        return othello.random_games(count, seed=2 * seed + 1)
    return _recorded()[:count]


def _recorded() -> np.ndarray:
    """The recorded games, each once, in a fixed random order."""
    games = np.unique(othello.recorded_games(), axis=0)
    return games[np.random.default_rng(0).permutation(len(games))]


class Legality(NamedTuple):
    """How often the next move of a model is legal."""

    top: float
    """The share of positions whose most probable move is legal."""
    mass: float
    """The mean probability of the legal moves."""
    chance: float
    """The mean share of legal moves among the 64 squares."""
    positions: int


@torch.no_grad()
def legal_moves(model: Any, games: np.ndarray) -> Legality:
    """How often a model's next move is legal, over all positions of some games.

    Args:
        model: a causal language model with the tokens of `othello_lm`.
        games: (G, 60).
    """
    batches = _Batches(games, len(games), 0, "legal")
    tops, masses, chances = [], [], []
    for rows in torch.arange(len(games)).split(256):
        inputs, wanted, counted = batches.of(rows)
        p = model(input_ids=inputs, use_cache=False).logits.softmax(-1)[..., 1:65]
        legal = (wanted[..., 1:65] > 0).float()
        tops.append(legal.gather(-1, p.argmax(-1, keepdim=True)).squeeze(-1)[counted])
        masses.append((p * legal).sum(-1)[counted])
        chances.append(legal.mean(-1)[counted])
    top, mass, chance = (torch.cat(parts) for parts in (tops, masses, chances))
    return Legality(float(top.mean()), float(mass.mean()), float(chance.mean()), len(top))


class _Batches:
    """Games as inputs and targets of a language model, in an order that depends on the seed and the step only."""

    def __init__(self, games: np.ndarray, size: int, seed: int, target: str) -> None:
        if len(games) < size:
            raise refuse("batch_size", size, f"at most {len(games)}, the number of games")
        self.size, self.seed, self.target = size, seed, target
        there = games < 64
        self.moves = torch.from_numpy(np.where(there, games + 1, 0).astype(np.int64))
        self.there = torch.from_numpy(there)
        first = np.full((len(games), 1), othello.legal(*othello.START))
        self.legal = np.concatenate([first, othello.replay(games).legal[:, :-1]], 1)

    def __call__(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """The batch of a step."""
        epoch, at = divmod(step, len(self.moves) // self.size)
        order = torch.randperm(
            len(self.moves), generator=torch.Generator().manual_seed(self.seed + 7919 * epoch)
        )
        return self.of(order[at * self.size : (at + 1) * self.size])

    def of(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs (B, 60), target probabilities (B, 60, 66), and which positions count, (B, 60)."""
        moves, there = self.moves[rows], self.there[rows]
        inputs = torch.cat([torch.zeros(len(rows), 1, dtype=torch.long), moves[:, :-1]], 1)
        wanted = torch.zeros(*moves.shape, 66)
        if self.target == "played":
            wanted.scatter_(-1, moves[..., None], 1.0)
        else:
            wanted[..., 1:65] = torch.from_numpy(othello.bits(self.legal[rows.numpy()])).float()
            wanted /= wanted.sum(-1, keepdim=True).clamp_min(1)
        return inputs, wanted, there


def _model(transformers: Any, width: int, layers: int, heads: int) -> Any:
    """A GPT-2 model with weights as they are initialised."""
    config = transformers.GPT2Config(
        vocab_size=66,
        n_embd=width,
        n_layer=layers,
        n_head=heads,
        n_positions=64,
        activation_function="gelu",
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=0,
        eos_token_id=0,
    )
    return transformers.GPT2LMHeadModel(config)


def _tokenizer(transformers: Any) -> Any:
    """One token a square, between a start token and a token for anything else."""
    tokenizers = optional("tokenizers", "language", "make a tokenizer")
    words = {name: number for number, name in enumerate([_START, *othello.SQUARES, _UNKNOWN])}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token=_UNKNOWN))
    made.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single=f"{_START} $A", special_tokens=[(_START, 0)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token=_START, eos_token=_START, unk_token=_UNKNOWN
    )


@torch.enable_grad()
def _train(model: Any, batches: _Batches, steps: int, lr: float, state: Path, shown: Silent) -> None:
    optimizers = _optimizers(model, lr)
    rate = cosine(lr, lr / 100, steps, warmup=steps // 20)
    begun = _restored(state, model, optimizers)
    shown.begin("Training a language model of Othello", steps, begun)
    model.train()
    for step in range(begun, steps):
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["lr"] = rate(step)
        inputs, wanted, counted = batches(step)
        likely = model(input_ids=inputs, use_cache=False).logits.log_softmax(-1)
        loss = -(wanted * likely).sum(-1)[counted].mean()
        model.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        shown.advance(step + 1, {"loss": float(loss.detach())})
        if (step + 1) % _SAVED_EVERY == 0 and step + 1 < steps:
            _save(state, model, optimizers, step + 1)


def _optimizers(model: Any, lr: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks, AdamW for the rest: twice as fast as AdamW alone at this size."""
    if not hasattr(torch.optim, "Muon"):
        raise WorkError("This model is trained with torch.optim.Muon. Install torch 2.9 or newer.")
    blocks: list[Tensor] = []
    rest: list[Tensor] = []
    for name, parameter in model.named_parameters():
        (blocks if parameter.ndim == 2 and ".h." in name else rest).append(parameter)
    return [
        torch.optim.Muon(blocks, lr=lr, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=lr, betas=(0.9, 0.95), weight_decay=0.01),
    ]


def _save(path: Path, model: Any, optimizers: list[torch.optim.Optimizer], step: int) -> None:
    tensors = {f"model/{name}": p.detach().clone() for name, p in model.named_parameters()}
    tensors["step"] = torch.tensor(step)
    for number, optimizer in enumerate(optimizers):
        for index, moments in optimizer.state_dict()["state"].items():
            tensors |= {
                f"optimizer/{number}/{index}/{name}": m.detach().clone() for name, m in moments.items()
            }
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(NarrowsError):  # a disk that is full costs the checkpoint, not the training
        write_tensors(path, tensors, "Then call it again.")


@torch.no_grad()
def _restored(path: Path, model: Any, optimizers: list[torch.optim.Optimizer]) -> int:
    """Restore the state of an interrupted training; the number of finished steps, 0 if there is none."""
    try:
        tensors = read_tensors(path)
        held = {name: tensors[f"model/{name}"] for name, _ in model.named_parameters()}
        step = int(tensors["step"])
    except (OSError, ValueError, KeyError):
        return 0
    for name, parameter in model.named_parameters():
        parameter.copy_(held[name])
    moments: list[dict[int, dict[str, Tensor]]] = [{} for _ in optimizers]
    for name in (name for name in tensors if name.startswith("optimizer/")):
        _, number, index, key = name.split("/")
        moments[int(number)].setdefault(int(index), {})[key] = tensors[name]
    for optimizer, found in zip(optimizers, moments, strict=True):
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": found, "param_groups": groups})
    return step
