"""Second stages: priors over the codes of a trained autoencoder, trained by the same trainer."""
