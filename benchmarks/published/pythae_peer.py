"""A model of pythae, trained by pythae's trainer and given to the judge; run by the interpreter of its environment.

It imports nothing of `narrows`. The draws and densities of the judge's weights are those of pythae's models, with the
parameters that they are trained with: `get_nll` of SVAE has another concentration than its `forward`, and that of HVAE
another width of the first Gaussian. The steps of HVAE are those of `get_nll`, which are a leapfrog; in `forward` the
position is moved by the momentum before the half step, and the bound that is trained is not one.
"""

from __future__ import annotations

import io
import itertools
import json
import logging
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.published import judge

CONFIGS = {"RAE_L2": "RAE_L2_Config", "RAE_GP": "RAE_GP_Config"}
COUPLED = ("PIWAE", "RAE_L2")


class Gated(nn.Module):
    """The product of one half and the sigmoid of the other."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., 2W) -> (..., W)."""
        return F.glu(x, -1)


ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU, "softplus": nn.Softplus, "gated": Gated}


def body(widths: list[int], activation: str) -> nn.Sequential:
    """Linear layers, each with an activation after it."""
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(widths):
        layers += [nn.Linear(a, b * (2 if activation == "gated" else 1)), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers)


def glorot(net: nn.Module) -> None:
    """Glorot's uniform rule, biases 0."""
    for layer in net.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)


def model_of(wanted: dict[str, Any]) -> Any:
    """pythae's model with the nets of its scripts."""
    from pythae import models
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.models.pvae.pvae_utils import PoincareBall

    name, options = wanted["theirs"]
    z, hidden, activation = wanted["latent"], list(wanted["hidden"]), wanted["activation"]
    hyperbolic, ball = name == "PoincareVAE", PoincareBall(z, 1.0)

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.body = body([784, *hidden], activation)
            self.mean = nn.Linear(hidden[-1], z)
            self.log_var = nn.Linear(hidden[-1], 1 if name in ("SVAE", "PoincareVAE") else z)

        def forward(self, x: Tensor) -> Any:
            h = self.body(x.flatten(1))
            mean, raw = self.mean(h), self.log_var(h)
            if hyperbolic:
                mean, raw = ball.expmap0(mean), torch.log(F.softplus(raw) + 1e-5)
            return ModelOutput(embedding=mean, log_covariance=raw, log_concentration=raw)

    class Gyroplanes(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.normals = nn.Parameter(torch.empty(width, z))
            self.bias = nn.Parameter(torch.empty(width, 1))
            nn.init.kaiming_normal_(self.normals, a=math.sqrt(5))
            nn.init.uniform_(self.bias, -4 / math.sqrt(z), 4 / math.sqrt(z))

        def forward(self, x: Tensor) -> Tensor:
            point = ball.expmap0(self.normals * self.bias)
            normal = ball.transp0(point, self.normals)
            spread = x.unsqueeze(-2).expand(*x.shape[:-1], len(point), x.shape[-1])
            return ball.normdist2plane(spread, point, normal, signed=True, norm=False)

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            first = (
                nn.Sequential(Gyroplanes(600), nn.ReLU())
                if hyperbolic
                else body([z, *hidden[::-1]], activation)
            )
            self.body, self.out = first, nn.Linear(600 if hyperbolic else hidden[0], 784)

        def forward(self, code: Tensor) -> Any:
            out = self.out(self.body(code))
            out = out if name == "HVAE" else out.sigmoid()
            return ModelOutput(reconstruction=out.view(-1, 1, 28, 28))

    encoder, decoder = Encoder(), Decoder()
    glorot(encoder)
    glorot(decoder)
    config = getattr(models, CONFIGS.get(name, f"{name}Config"))
    loss = {} if name.startswith("RAE") else {"reconstruction_loss": "bce"}
    settled = config(input_dim=(1, 28, 28), latent_dim=z, **loss, **options)
    return getattr(models, name)(settled, encoder, decoder)


class Rows(torch.utils.data.Dataset[Any]):
    """Images; if dynamic, pixels are drawn anew each time."""

    def __init__(self, x: Tensor, dynamic: bool) -> None:
        self.x, self.dynamic = x, dynamic

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, row: int) -> Any:
        from pythae.data.datasets import DatasetOutput

        return DatasetOutput(data=torch.bernoulli(self.x[row]) if self.dynamic else self.x[row])


def train(model: Any, x: Tensor, wanted: dict[str, Any]) -> None:
    """Epochs of pythae's trainer, of as many examples as the steps need."""
    from pythae import trainers

    name, batch = wanted["theirs"][0], wanted["batch"]
    rates: dict[str, Any] = {"learning_rate": wanted["rate"]}
    kind = "BaseTrainer"
    if name in COUPLED:
        kind = "CoupledOptimizerTrainer"
        rates = {"encoder_learning_rate": wanted["rate"], "decoder_learning_rate": wanted["rate"]}
        if name == "RAE_L2":
            rates["decoder_optimizer_params"] = {"weight_decay": wanted["theirs"][1]["reg_weight"]}
    with tempfile.TemporaryDirectory() as folder:
        settings = getattr(trainers, f"{kind}Config")(
            output_dir=folder, num_epochs=1, per_device_train_batch_size=batch, no_cuda=True, **rates
        )
        done, epoch, per_epoch = 0, 0, len(x) // batch
        trainer = None
        while done < wanted["steps"]:
            epoch += 1
            now = min(per_epoch, wanted["steps"] - done)
            rows = Rows(x[torch.randperm(len(x))[: now * batch]] if now < per_epoch else x, wanted["dynamic"])
            if trainer is None or now < per_epoch:
                fresh = getattr(trainers, kind)(model, rows, training_config=settings)
                fresh.prepare_training()
                if trainer is not None:  # the last part of an epoch goes on with the same moments
                    for held in ("optimizer", "encoder_optimizer", "decoder_optimizer"):
                        if hasattr(trainer, held):
                            setattr(fresh, held, getattr(trainer, held))
                trainer = fresh
            with redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):
                trainer.train_step(epoch)
            done += now


def log_p(model: Any, z: Tensor, x: Tensor) -> Tensor:
    """log p(x | z) of codes (K, B, Z), (K, B)."""
    out = model.decoder(z.flatten(0, 1))["reconstruction"].view(*z.shape[:2], -1)
    target = x.flatten(1).expand_as(out)
    cross = F.binary_cross_entropy_with_logits if model.model_name == "HVAE" else F.binary_cross_entropy
    return -cross(out, target, reduction="none").sum(-1)


def normal(z: Tensor, mean: Tensor | float, std: Tensor | float) -> Tensor:
    """The log density of a diagonal Gaussian."""
    return torch.distributions.Normal(mean, std, validate_args=False).log_prob(z).sum(-1)


def gaussian(model: Any, x: Tensor, count: int) -> Tensor:
    """Log-weights of a Gaussian posterior; the prior is N(0, I) or VAMP's mixture."""
    found = model.encoder(x)
    mean, std = found.embedding, (0.5 * found.log_covariance).exp()
    z = mean + std * torch.randn(count, *mean.shape)
    prior = normal(z, torch.zeros(()), torch.ones(()))
    if model.model_name == "VAMP":
        constant = 0.5 * z.shape[-1] * math.log(2 * math.pi)
        prior = model._log_p_z(z.flatten(0, 1)).view(z.shape[:2]) - constant
    return log_p(model, z, x) + prior - normal(z, mean, std)


def sphere(model: Any, x: Tensor, count: int) -> Tensor:
    """Log-weights of von Mises-Fisher's distribution against the uniform one; areas cancel."""
    from scipy.special import ive

    found = model.encoder(x)
    loc = (found.embedding / found.embedding.norm(dim=-1, keepdim=True)).repeat(count, 1)
    kappa = (F.softplus(found.log_concentration) + 1).repeat(count, 1)
    z = model._sample_von_mises(loc, kappa)
    k, m = kappa[:, 0].double(), loc.shape[-1]
    bessel = torch.from_numpy(ive(m / 2 - 1, k.numpy())).log() + k
    log_q = k * (loc * z).sum(-1) + (m / 2 - 1) * k.log() - m / 2 * math.log(2 * math.pi) - bessel
    area = math.log(2) + m / 2 * math.log(math.pi) - math.lgamma(m / 2)
    z = z.view(count, -1, m)
    return log_p(model, z, x) - area - log_q.view(count, -1).to(z)


def hyperbolic(model: Any, x: Tensor, count: int) -> Tensor:
    """Log-weights of wrapped normal distributions."""
    found = model.encoder(x)
    q = model.posterior(
        loc=found.embedding, scale=(0.5 * found.log_covariance).exp(), manifold=model.latent_manifold
    )
    p = model.prior(loc=model._pz_mu, scale=model._pz_logvar.exp(), manifold=model.latent_manifold)
    z = q.rsample(torch.Size([count]))
    return log_p(model, z, x) + (p.log_prob(z) - q.log_prob(z)).sum(-1)


def hamiltonian(model: Any, x: Tensor, count: int) -> Tensor:
    """Log-weights of the end of the leapfrog, with its momentum; volume is kept."""
    found, rows = model.encoder(x), x.repeat(count, 1, 1, 1)
    mean, std = (part.repeat(count, 1) for part in (found.embedding, F.softplus(found.log_covariance)))
    start = mean + std * torch.randn_like(mean)
    first = torch.randn_like(mean)
    with torch.enable_grad():
        z, rho = start.detach().requires_grad_(), first
        for _ in range(model.n_lf):
            half = rho - model.eps_lf / 2 * model._dU_dz(z, rows)
            z = (z + model.eps_lf * half).detach().requires_grad_()
            rho = half - model.eps_lf / 2 * model._dU_dz(z, rows)
    zero, one = torch.zeros(()), torch.ones(())
    ratio = (
        normal(z, zero, one) + normal(rho, zero, one) - normal(start, mean, std) - normal(first, zero, one)
    )
    return log_p(model, z.view(count, len(x), -1), x) + ratio.view(count, -1)


WEIGHTS: dict[str, Callable[[Any, Tensor, int], Tensor]] = {
    "SVAE": sphere,
    "PoincareVAE": hyperbolic,
    "HVAE": hamiltonian,
}


def main() -> None:
    """Train and judge what the argument asks for; the last line of the output is JSON."""
    wanted = json.loads(sys.argv[1])
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    found = np.load(wanted["data"])
    torch.manual_seed(wanted["seed"])
    model = model_of(wanted)
    import pythae.trainers  # noqa: F401  # not part of the time

    begun = time.process_time()
    train(model, torch.from_numpy(found["train"]), wanted)
    seconds = (time.process_time() - begun) / wanted["steps"]
    model.eval()
    held = torch.from_numpy(found["held"])
    name = wanted["theirs"][0]
    if name.startswith("RAE"):
        figure = judge.error(lambda x: model.decoder(model.encoder(x).embedding)["reconstruction"], held)
    else:
        weigh = WEIGHTS.get(name, gaussian)
        figure = judge.nll(lambda x, count: weigh(model, x, count).detach(), held, wanted["samples"])
    print(json.dumps({"seconds": seconds, "figure": figure, "cpu": time.process_time() - begun}))


if __name__ == "__main__":
    main()
