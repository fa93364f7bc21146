"""A detector of pyod, run by its interpreter for `benchmarks.anomaly`: NAME DATA OUT SEED STEPS.

After that it scores the test rows again for each line of its input, and prints the seconds of its processor time.

It imports nothing of `narrows`. Settings are pyod's defaults, but for the number of epochs, which makes about STEPS
steps.
"""

import random
import sys
import time

import numpy as np
import torch


def main() -> None:
    """Fit to the training rows and write the scores of the test rows."""
    name, data, out, seed, steps = sys.argv[1:]
    torch.set_num_threads(1)
    torch.manual_seed(int(seed))
    np.random.seed(int(seed))  # noqa: NPY002
    random.seed(int(seed))
    arrays = np.load(data)
    train, test = arrays["train"], arrays["test"]
    epochs = max(1, round(int(steps) / max(1, len(train) // 32)))
    if name == "DeepSVDD":
        from pyod.models.deep_svdd import DeepSVDD

        model = DeepSVDD(n_features=train.shape[1], epochs=epochs, random_state=int(seed), verbose=0)
    else:
        from importlib import import_module

        module = {"AutoEncoder": "auto_encoder", "VAE": "vae"}[name]
        made = getattr(import_module(f"pyod.models.{module}"), name)
        model = made(epoch_num=epochs, random_state=int(seed), verbose=0)
    model.fit(train)
    np.save(out, model.decision_function(test))
    for _ in sys.stdin:
        began = time.process_time()
        model.decision_function(test)
        print(f"seconds {time.process_time() - began}", flush=True)


if __name__ == "__main__":
    main()
