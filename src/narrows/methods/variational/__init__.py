"""Methods with a variational posterior."""

from narrows.methods.row import Method

__all__ = ["ROWS"]

ROWS = (
    Method(
        "vae",
        "Auto-Encoding Variational Bayes",
        2014,
        "1312.6114",
        "variational",
        "The reparameterised gradient trains a latent variable model whose prior samples look like data.",
        3,
        186,
        "variational.vae",
    ),
    Method(
        "iwae",
        "Importance Weighted Autoencoders",
        2016,
        "1509.00519",
        "variational",
        "More importance samples in the objective give a better likelihood and keep more units active.",
        3,
        3,
        "variational.iwae",
    ),
    Method(
        "beta-tcvae",
        "Isolating Sources of Disentanglement in Variational Autoencoders",
        2018,
        "1802.04942",
        "variational",
        "Penalising total correlation alone disentangles known factors better than beta-VAE does.",
        3,
        228,
        "variational.beta_tcvae",
    ),
    Method(
        "ladder-vae",
        "Ladder Variational Autoencoders",
        2016,
        "1602.02282",
        "variational",
        "Top-down inference keeps higher stochastic layers in use and improves the bound of a hierarchy.",
        3,
        None,
        "variational.ladder_vae",
    ),
    Method(
        "two-stage-vae",
        "Diagnosing and Enhancing VAE Models",
        2019,
        "1903.05789",
        "variational",
        "A second VAE over the first one's codes draws samples that are nearer to the data than the first one's.",
        2,
        None,
        "variational.two_stage_vae",
    ),
)
