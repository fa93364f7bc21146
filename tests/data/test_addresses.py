"""The rules and the probabilities of addresses, against counts."""

import numpy as np
import pytest

import narrows.data as nd
from narrows.core.check import RequestError


def test_fields_obey_the_rules_and_have_their_probabilities():
    source = nd.open("addresses", n=30_000, states=2, cities=2, prefixes=2, streets=2)
    truth, x = source.truth, source.train.all().x.numpy()
    assert (x.sum(1) == 4).all()
    fields = truth.fields(x)
    assert np.array_equal(truth.rows(fields), x)
    assert truth.obeys(fields).all()
    values, counts = np.unique(fields, axis=0, return_counts=True)
    assert np.abs(np.exp(truth.log_probability(values)) - counts / len(x)).max() < 0.01
    assert np.exp(truth.log_probability(values)).sum() == pytest.approx(1)
    for state, city, prefix, _ in values.tolist():
        assert (city // 2, prefix // 2) == (state, city)


def test_other_fields_break_a_rule():
    truth = nd.open("addresses", n=10).truth
    good = truth.fields(truth.rows(np.array([[1, 3, 6, 0]])))
    assert truth.obeys(good).all()
    for broken in ([0, 3, 6, 0], [1, 4, 6, 0], [1, 3, 8, 0]):
        assert not truth.obeys(np.array([broken]))[0]
        assert truth.log_probability(np.array([broken]))[0] == -np.inf
    with pytest.raises(RequestError, match="cities"):
        nd.open("addresses", states=1, cities=1)
