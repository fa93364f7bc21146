"""The linear world of a chosen spectrum."""

import numpy as np
import pytest
import torch

from narrows.core.check import RequestError
from narrows.data import open as open_data


def test_the_world_has_the_chosen_spectrum_and_split() -> None:
    source = open_data("linear", n=50, d=5, latent=2, noise=0.2, spectrum=(3.0, 1.0), given=2, tests=10)
    values = np.linalg.eigvalsh(source.truth.covariance)
    np.testing.assert_allclose(values, [0.04, 0.04, 0.04, 1.0, 3.0])
    batch = source.train.all()
    torch.testing.assert_close(batch.target, batch.x[:, 2:])
    for options in ({"spectrum": (3.0,)}, {"spectrum": (3.0, 0.01)}, {"spectrum": (3.0, -1.0)}, {"given": 5}):
        with pytest.raises(RequestError):
            open_data("linear", n=50, d=5, latent=2, noise=0.2, **options)
