"""Priors over the codes of a trained autoencoder, trained in a second stage."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from narrows.core.check import RequestError, nearest, refuse
from narrows.core.spelling import Option, Table
from narrows.core.texts import docstring_args

if TYPE_CHECKING:
    from narrows.core import Autoencoder, Bottleneck, Likelihood, Prior, Symbols

__all__ = [
    "PRIORS",
    "SAMPLING",
    "check_sampling",
    "make_prior",
    "require",
    "sampling_options",
    "spelled_as",
    "with_labels",
]

PRIORS: Table[Prior] = Table(
    "prior",
    "narrows.core:Prior",
    {
        "autoregressive": "narrows.priors.autoregressive:Autoregressive",
        "ctf": "narrows.priors.ctf:CTF",
        "token-shuffle": "narrows.priors.token_shuffle:TokenShuffle",
        "rq-transformer": "narrows.priors.rq_transformer:RQTransformer",
        "maskgit": "narrows.priors.maskgit:MaskGIT",
        "enat": "narrows.priors.enat:ENAT",
        "masked-diffusion": "narrows.priors.masked_diffusion:MaskedDiffusion",
        "givt": "narrows.priors.givt:GIVT",
        "masked-givt": "narrows.priors.masked_givt:MaskedGIVT",
        "denoiser-head": "narrows.priors.denoiser_head:DenoiserHead",
        "tarflow": "narrows.priors.tarflow:TARFlow",
        "starflow": "narrows.priors.tarflow:STARFlow",
        "next-scale": "narrows.priors.next_scale:NextScale",
        "flowar": "narrows.priors.flowar:FlowAR",
        "flow-matching": "narrows.priors.flow_matching:FlowMatching",
        "diffusion": "narrows.priors.diffusion:Diffusion",
        "consistency": "narrows.priors.consistency:Consistency",
        "vct": "narrows.priors.vct:VCT",
        "flow": "narrows.priors.flow:NormalisingFlow",
        "gmm": "narrows.priors.mixture:GaussianMixture",
        "riemannian": "narrows.priors.riemannian:Riemannian",
        "second-vae": "narrows.priors.second_vae:SecondVAE",
    },
    aliases={"ar": "autoregressive"},
    words={"none": "no prior"},
    supplied=("symbols", "classes", "shape"),
    shared={
        "labels": "whether the prior is conditioned on the labels of the data, to draw samples of a class.",
        "width": "width of the transformer, or of the network for vectors.",
        "depth": "number of blocks.",
        "draws": "of a code with a posterior, learn draws from it instead of its mean.",
        "heads": "number of attention heads, a divisor of width.",
        "net": "auto, a perceptron for vectors and a transformer for tokens; or unet, for a grid with two sides.",
        "elementwise": "standardise each number of tokens and arrays, not each channel.",
        "largest": "standard deviation of noise at the end of the path, T, in units of the standardised codes.",
        "stages": "how often the gap of two times is halved, S.",
        "stage_steps": "steps of training of each stage but the last, which takes the others.",
        "huber": "errors above c, this number times the square root of a code's size, count by size, not by square.",
    },
)
"""The priors that a text can name."""

SAMPLING: Mapping[str, str] = {
    "guidance": "scale of classifier-free guidance; 1 for none.",
    "guidance_interval": "the times with guidance, from 0 (codes) to 1 (noise), such as 0.2/0.8.",
    "temperature": "softmax temperature; below 1 likely codes are drawn more often.",
    "top_k": "draw only from this number of most likely codes; 0 for all.",
    "top_p": "draw only from the most likely codes with this total probability.",
}
"""Descriptions of options of `sample` that several priors share."""


def make_prior(
    prior: str | Prior, symbols: Symbols, classes: int = 0, shape: tuple[int, ...] = ()
) -> Prior | None:
    """The prior of a text, or None.

    Args:
        prior: ``autoregressive:width=128`` and the like, ``none``, or a prior.
        symbols: what the bottleneck stores of an example.
        classes: how many labels the data have.
        shape: shape of an example, for priors that read examples in training too.

    Raises:
        RequestError: the prior or option does not exist, or the prior does not support these symbols.

    Example:
        >>> from narrows.core import Symbols
        >>> make_prior("ar:width=8,heads=2", Symbols((9,), codes=16)).sample(2).shape
        torch.Size([2, 9])
    """
    if PRIORS.word(prior):
        return None
    made = PRIORS.make(prior, symbols=symbols, classes=classes, shape=shape)
    require(symbols, type(made))
    if made.symbols not in (None, symbols):
        raise refuse("prior", type(made).__name__, f"one for {symbols}", f"This one is for {made.symbols}.")
    return made


def with_labels(prior: str, classes: int) -> str:
    """The text of a prior that is told the labels of labelled data, unless it says ``labels=no`` or takes none.

    Example:
        >>> with_labels("maskgit:width=8", 10), with_labels("maskgit:labels=no", 10), with_labels("gmm", 10)
        ('maskgit:width=8,labels=yes', 'maskgit:labels=no', 'gmm')
    """
    if not classes or PRIORS.word(prior):
        return prior
    spelled = PRIORS.read(prior)
    if "labels" in spelled.options or "labels" not in PRIORS.parameters(spelled.name):
        return prior
    return f"{prior}{',' if ':' in prior else ':'}labels=yes"


@contextmanager
def spelled_as(given: str, told: str) -> Iterator[None]:
    """Errors inside the context show the text of a prior as it was given, without the labels that `with_labels` added.

    Args:
        given: the text of the user.
        told: the text with the labels.
    """
    try:
        yield
    except RequestError as error:
        error.args = tuple(one.replace(repr(told), repr(given)) for one in error.args)
        raise


def require(symbols: Symbols, prior: type[Prior]) -> None:
    """Raise if a prior does not support the symbols of a code.

    Raises:
        RequestError: they are of another kind.
    """
    if symbols.kind in prior.reads:
        return
    fit = [name for name in PRIORS.parts if symbols.kind in PRIORS.constructor(name).reads]  # type: ignore[attr-defined]
    named = next((name for name in PRIORS.parts if PRIORS.constructor(name) is prior), prior.__name__)
    raise refuse("prior", named, f"one that reads {symbols}", f"These do: {', '.join(fit)}.")


def sampling_options(part: type[Bottleneck | Prior | Likelihood]) -> dict[str, Option]:
    """The options of `sample` of a prior, a bottleneck or a likelihood, by name.

    Example:
        >>> from narrows.priors.flow_matching import FlowMatching
        >>> list(sampling_options(FlowMatching))
        ['steps', 'sampler', 'guidance', 'guidance_interval']
    """
    says = {**SAMPLING, **docstring_args(inspect.getdoc(part.sample) or "")}
    parameters = inspect.signature(part.sample, eval_str=True).parameters.values()
    return {
        p.name: Option(p.name, p.annotation, p.default, says.get(p.name, ""))
        for p in parameters
        if p.kind is inspect.Parameter.KEYWORD_ONLY
    }


def check_sampling(model: Autoencoder, options: Mapping[str, Any]) -> None:
    """Raise for options that `sample` of neither the prior (without one the bottleneck) nor the likelihood has.

    Raises:
        RequestError: the option does not exist.
    """
    parts = model.drawn_from, model.likelihood
    known = {name: option for part in parts for name, option in sampling_options(type(part)).items()}
    for name, value in options.items():
        if name not in known:
            if not known:
                why = (
                    "No second stage draws these codes"
                    if model.prior is None
                    else "This prior draws without options"
                )
                raise refuse(name, value, "left out", f"{why}, so that there is nothing to set.")
            listed = ", ".join(f"``{option}``" for option in known)
            close = nearest(name, known, "``") if len(known) > 3 else ""
            raise RequestError(
                f"This run has no option ``{name}`` to sample with. It has {listed}. {close}".rstrip()
            )
