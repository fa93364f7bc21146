"""Networks: perceptrons, convolutions, residual nets, transformers. No word of latents here."""
