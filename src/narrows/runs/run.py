"""`Run`: a folder with a recipe and a model, and methods that use it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from narrows.core.check import NarrowsError, RequestError
from narrows.core.progress import with_progress
from narrows.runs.codes import check_origin, concatenated, joined, pack, unpack
from narrows.runs.fitted import Fitted
from narrows.runs.verbs.interpolate import interpolate
from narrows.runs.verbs.passive import without
from narrows.runs.verbs.reconstruct import check_decodes, reconstruct
from narrows.runs.verbs.sample import sample
from narrows.runs.verbs.score import kind_of, quantity, score

if TYPE_CHECKING:
    from narrows.audit import Report
    from narrows.runs.verbs.calibration import Calibration
    from narrows.runs.verbs.detect import Detected
    from narrows.runs.verbs.likelihood import Estimated
    from narrows.runs.verbs.score_map import Mapped

__all__ = ["Run"]


class Run(Fitted):
    """A fitted model in its folder.

    Args:
        path: the folder.
        recipe: the arguments of the run.
        model: the autoencoder, in `eval()` when the run is loaded.
        source: the data; None to open them from the recipe on first use.

    The `data` arguments of methods are those of `narrows.data.open`: a name, a path or an array, or None for the test
    split of the run. They are scaled as in the fit, and results are in the units of the data.
    """

    @property
    def members(self) -> tuple[Run, ...]:
        """The runs whose scores are averaged: this one; of a group (`narrows.runs.ensemble`) all of them."""
        return (self,)

    def audit(
        self,
        data: Any = None,
        *,
        name: str = "",
        write: bool = True,
        out: str | Path | None = None,
        features: bool = True,
        force: bool = False,
        progress: Any = None,
        **options: Any,
    ) -> Report:
        """Run all checks of the audit, on the test split or on other data.

        Args:
            data: the data of the audit; the test split of the run if None.
            name: name of the data; by default the name of the file.
            write: write ``audit.json`` and ``report.html``; for data other than the run's own, ``audit-NAME.json`` and
                so on.
            out: the folder to write into; the run folder if None.
            features: for a sparse code also write ``features.html``.
            force: accept a harvest of another model, hook point or tokenizer than the run's.
            progress: a `narrows.train.Progress`, or None.
            options: further arguments of `narrows.audit.audit`: `limit`, `seed`, `evaluations`, `budget`.

        Raises:
            RequestError: the data are a harvest of another model, hook point or tokenizer.
        """
        from narrows.runs.verbs.audit import audit

        where: dict[str, Any] = {"write": write, "out": out, "features": features}
        return audit(self, data, name=name, force=force, progress=progress, **where, **options)

    def features(self, data: Any = None, *, out: str | Path | None = None, **options: Any) -> Path | None:
        """Write a page on single latents of a sparse code; None if the code is not sparse.

        Args:
            data: the examples; the test split of the run if None.
            out: path of the page; ``features.html`` in the run folder if None.
            options: `count`, `examples`, `latents`, `seed`, `report` and `progress` of
                `narrows.runs.features.write_features`.
        """
        from narrows.runs.features import PAGE, write_features

        page = self.path / PAGE if out is None else Path(out)
        found = write_features(self, None if data is None else self.dataset(data), out=page, **options)
        return None if found is None else page

    def encode(
        self, data: Any = None, *, drop: str | None = None, progress: Any = None
    ) -> dict[str, np.ndarray]:
        """The codes of data, as named arrays, from which `decode` reconstructs.

        Args:
            data: the data to encode; the test split of the run if None.
            drop: ``passive``: without the latents that carry no information (`narrows.runs.verbs.passive.without`).
            progress: a `narrows.core.progress.Progress`, or None.

        Returns:
            ``indices`` (N, L) of a quantised code, with ``lengths`` (N,) if examples have unequal numbers of codes;
            ``indices``, ``values`` (N, k) and ``width`` of a sparse one; else ``z`` (N, ...), with ``mean`` and
            ``scale`` of a Gaussian posterior. Also ``features`` (N, F), the input of a linear probe,
            and ``condition/NAME`` (N, ...) for each condition of the model.
        """
        codes = joined(
            self._over(data, partial(pack, self.model), progress, "Encoding", conditions=self.model.inputs)
        )
        return codes if drop is None else without(self, drop, codes)

    def decode(self, codes: Mapping[str, np.ndarray], *, progress: Any = None) -> Any:
        """Decode the codes that `encode` returned.

        Args:
            codes: arrays by name.
            progress: a `narrows.core.progress.Progress`, or None.

        Returns:
            Examples (N, *shape) in the units of the data; for several modalities a dict by name.

        Raises:
            RequestError: the codes were made by another run, the arrays or their shapes are not those of this model's
                codes, or the run decodes no examples.
        """
        check_decodes(self)
        check_origin(self.model, codes, str(self.path))
        read = unpack(self.model, codes)
        rows = max((len(v) for v in codes.values() if np.ndim(v)), default=0)
        parts = (self.model.likelihood.mean(self.model.decode(z, condition)) for z, condition in read)
        try:
            with torch.no_grad():
                return self._units(concatenated(with_progress(parts, rows, progress, "Decoding")))
        except (RuntimeError, IndexError, TypeError, ValueError) as error:
            if isinstance(error, NarrowsError):
                raise
            shapes = {k: tuple(np.shape(v)) for k, v in codes.items()}
            raise RequestError(
                f"The codes do not have the shape of this run's codes: {shapes}. Make them with: narrows encode"
            ) from error

    def reconstruct(self, data: Any = None, *, resolution: float | None = None, progress: Any = None) -> Any:
        """Reconstructions of data, (N, *shape), in the units of the data; for several modalities a dict by name.

        Args:
            data: the data to reconstruct; the test split of the run if None.
            resolution: for fields: number of points along each coordinate of a grid, as a multiple of that of the
                training data; (N, Q, C). If None, the points of the data. Fields with fewer points and shorter series
                are padded with NaN.
            progress: a `narrows.core.progress.Progress`, or None.
        """
        return reconstruct(self, data, resolution=resolution, progress=progress)

    def impute(self, data: Any = None, **how: Any) -> dict[str, np.ndarray] | np.ndarray:
        """Impute missing values of tables or series; columns by name, or an array if `data` is an array.

        Args:
            data: a file, an array, or None for the test split of the run.
            how: `samples`, `draws`, `intervals`, `ess`, `seed`, `horizon` (steps to forecast) and `progress` of
                `narrows.runs.verbs.impute.impute`.
        """
        from narrows.runs.verbs.impute import impute

        return impute(self, data, **how).result()

    def sample(
        self,
        n: int = 64,
        *,
        seed: int = 0,
        label: int | None = None,
        draw: bool = False,
        resolution: float | None = None,
        prior: str | None = None,
        progress: Any = None,
        **options: Any,
    ) -> np.ndarray:
        """New examples from the prior, (n, *shape); the columns of a table by name.

        Args:
            n: number of examples.
            seed: random seed.
            label: class of all examples. If None, all classes in turn; if only the prior is told labels, as often as in
                its training data.
            draw: draw from the likelihood instead of taking its mean; rows of a table always are.
            resolution: for fields, as for `reconstruct`.
            prior: instead of the run's own, a prior such as ``gmm:components=20`` that is fitted to the codes of its
                training data and stored in ``priors`` of its folder; ``none`` for the method's own.
            progress: a `narrows.core.progress.Progress`, or None.
            options: sampling options of a learned prior: ``steps``, ``temperature`` ...; for texts those of the
                decoder: ``temperature``, ``top_k``.

        Raises:
            RequestError: the method has no prior, the prior lacks an option, the model has a condition other than
                labels, or the label does not exist.
        """
        how: dict[str, Any] = {"seed": seed, "label": label, "draw": draw, "resolution": resolution}
        if prior is not None:
            from narrows.runs.priors import prior_run

            return prior_run(self, prior).sample(n, progress=progress, **how, **options)
        return sample(self, n, progress=progress, **how, **options)

    def separate(self, data: Any, **how: Any) -> np.ndarray:
        """The two sources of each mixture in the data, (N, 2, *shape): see `narrows.runs.verbs.separate.separate`.

        Args:
            data: the mixtures, means of two examples.
            how: `pairs`, `candidates`, `search` (``ancestral`` or ``beam``), `seed` and `progress`.
        """
        from narrows.runs.verbs.separate import separate

        return separate(self, data, **how)

    def interpolate(self, data: Any = None, i: int = 0, j: int = 1, *, steps: int = 8) -> Any:
        """Decode points on the line between the codes of examples i and j, (steps, *shape)."""
        return interpolate(self, data, i, j, steps)

    def translate(
        self,
        data: Any = None,
        source: str | Sequence[str] = "others",
        to: str | Sequence[str] = "all",
        **how: Any,
    ) -> dict[str, np.ndarray]:
        """Predict some modalities from others: see `narrows.runs.verbs.translate.translate`."""
        from narrows.runs.verbs.translate import translate

        return translate(self, data, source=source, to=to, **how)

    def predict(self, data: Any = None, *, draws: int = 0, seed: int = 0, progress: Any = None) -> Any:
        """What a method such as `vib` predicts from x: see `narrows.runs.verbs.predict.predict`."""
        from narrows.runs.verbs.predict import predict

        return predict(self, data, draws=draws, seed=seed, progress=progress)

    def score(
        self,
        data: Any = None,
        *,
        kind: str | None = None,
        samples: int | None = None,
        seed: int = 0,
        calibration: Any = None,
        progress: Any = None,
    ) -> np.ndarray:
        """Anomaly score of each example, (N,), higher for more unusual ones; `score_unit` names the quantity.

        Computed on scaled data. All examples have the same draws: the score of one does not depend on the others.

        Args:
            data: the data to score; the test split of the run if None.
            kind: ``nll``, the importance-weighted -log p(x) in nats, the default if there is a posterior;
                ``distortion``, the mean of -log p(x | z) over the posterior (of a code without one at the code, the
                default for these), or of an error if the likelihood is one; ``rate``, KL(q(z | x) || p(z)) in nats;
                ``typicality``, the distance of the nll from its mean over calibration rows, which finds rows that
                are too probable too. Of a method that predicts a target, ``nll`` is -log p(y | x).
            samples: number of codes drawn for each example, if there is a posterior; by default 16, for
                ``typicality`` those of the calibration.
            seed: seed of the draws.
            calibration: for ``typicality`` the calibration rows, as for `calibration`.
            progress: a `narrows.core.progress.Progress`, or None.

        Raises:
            RequestError: a kind that the method does not have.
        """
        how: dict[str, Any] = {"samples": samples, "seed": seed, "progress": progress}
        return score(self, data, kind, calibration, **how)

    def score_unit(self, data: Any = None, kind: str | None = None) -> str:
        """The quantity that `score` returns: ``nll_nats``, ``distortion_nats``, ``squared_error``, ``rate_nats`` ...

        For a code with a posterior and the squared error as likelihood, the nll is -log p(x) up to an additive
        constant: ``nll_nats_without_constant``.
        """
        return quantity(self, kind_of(self, data, kind))

    def calibration(self, data: Any = None, *, progress: Any = None) -> Calibration:
        """The scores of rows that the model was not fitted to, for p-values and thresholds.

        Args:
            data: the rows. If None, those that the run kept from training (``calibration`` of `narrows.train.Plan`),
                or else its test split; their scores are stored in ``calibration.json`` of the run.
            progress: a `narrows.core.progress.Progress`, or None.
        """
        from narrows.runs.verbs.calibration import calibrate

        return calibrate(self, data, progress=progress)

    def detect(self, data: Any = None, **how: Any) -> Detected:
        """The anomalies among rows, by conformal p-values: see `narrows.runs.verbs.detect.detect`.

        Args:
            data: the rows; the test split of the run if None.
            how: one of `alpha`, `fdr` and `contamination`; `kind`, `explain`, `calibration` and `progress`.
        """
        from narrows.runs.verbs.detect import detect

        return detect(self, data, **how)

    def score_map(self, data: Any = None, **how: Any) -> Mapped:
        """Anomaly scores of the pixels of images: see `narrows.runs.verbs.score_map.score_map`.

        Args:
            data: the images; the test split of the run if None.
            how: `mask`, `truth`, `calibration` and `progress`.
        """
        from narrows.runs.verbs.score_map import score_map

        return score_map(self, data, **how)

    def likelihood(self, data: Any = None, **how: Any) -> Estimated:
        """-log p(x) in nats with its errors: see `narrows.runs.verbs.likelihood.likelihood`.

        Args:
            data: the data; the test split of the run if None.
            how: `estimator` (``iwae`` or ``ais``), `samples`, `temperatures`, `chains`, `limit`, `simulated`,
                `seed` and `progress`.
        """
        from narrows.runs.verbs.likelihood import likelihood

        return likelihood(self, data, **how)
