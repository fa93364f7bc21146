"""Detectors of pyod, run by their interpreter for `benchmarks.anomaly` and `benchmarks.anomaly_speed`.

Each line of the input is a request in JSON. With ``name``, ``data``, ``out``, ``seed`` and ``steps`` a detector is
fitted to the training rows of a file and the scores of its test rows are written; an empty one scores them again. The
answer is a line with the seconds of processor time.

It imports nothing of `narrows`. Settings are pyod's defaults, but for the number of epochs, which makes about ``steps``
steps.
"""

import json
import random
import sys
import time
from importlib import import_module

import numpy as np
import torch

MODULES = {"AutoEncoder": "auto_encoder", "VAE": "vae", "DeepSVDD": "deep_svdd"}


def fitted(name, train, seed, steps):
    """A detector, fitted to rows."""
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    random.seed(seed)
    epochs = max(1, round(steps / max(1, len(train) // 32)))
    own = {"epoch_num": epochs}
    if name == "DeepSVDD":
        own = {"n_features": train.shape[1], "epochs": epochs}
    make = getattr(import_module(f"pyod.models.{MODULES[name]}"), name)
    model = make(**own, random_state=seed, verbose=0)
    model.fit(train)
    return model


def main() -> None:
    """Answer the requests."""
    torch.set_num_threads(1)
    model, test = None, None
    for name in MODULES.values():
        import_module(f"pyod.models.{name}")
    for line in sys.stdin:
        request = json.loads(line)
        began = time.process_time()
        if request:
            arrays = np.load(request["data"])
            test = arrays["test"]
            model = fitted(request["name"], arrays["train"], request["seed"], request["steps"])
        scores = model.decision_function(test)
        seconds = time.process_time() - began
        if request:
            np.save(request["out"], scores)
        print(f"seconds {seconds}", flush=True)


if __name__ == "__main__":
    main()
