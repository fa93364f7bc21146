"""scVI of scvi-tools on the cells of `benchmarks.counts`; run by the interpreter of its environment.

It imports nothing of `narrows`. The model has its defaults (128 hidden units, 10 latents, ZINB, dropout 0.1), but as
many epochs as ours and a warm-up of the KL divergence of half of them; the likelihood is its own `get_marginal_ll`, the
same importance estimate with the observed totals.
"""

from __future__ import annotations

import json
import logging
import sys
import time
import warnings

import numpy as np


def main(data: str, out: str, seed: int, epochs: int, samples: int) -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    import anndata
    import scvi
    import torch
    from scipy import sparse

    torch.set_num_threads(1)
    scvi.settings.seed = seed
    arrays = np.load(data)
    train, test = (
        anndata.AnnData(sparse.csr_matrix(arrays[name].astype(np.float32))) for name in ("train", "test")
    )
    scvi.model.SCVI.setup_anndata(train)
    model = scvi.model.SCVI(train)
    wall, cpu = time.perf_counter(), time.process_time()
    model.train(
        max_epochs=epochs,
        batch_size=128,
        train_size=1.0,
        accelerator="cpu",
        enable_progress_bar=False,
        logger=False,
        plan_kwargs={"n_epochs_kl_warmup": max(1, epochs // 2)},
    )
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    with torch.no_grad():
        found = model.get_marginal_ll(test, n_mc_samples=samples, n_mc_samples_per_pass=10)
    np.savez(out, train=model.get_latent_representation(train), test=model.get_latent_representation(test))
    print(json.dumps({"wall": wall, "cpu": cpu, "nll": -float(found)}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
