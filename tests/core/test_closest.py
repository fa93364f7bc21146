"""Names that resemble a mistyped one."""

import pytest

from narrows.core.check import closest
from narrows.methods.index import METHODS


def typing_errors(name: str) -> set[str]:
    """The name with one letter twice, one left out, or two that changed places."""
    found = set()
    for i in range(len(name)):
        found |= {name[: i + 1] + name[i:], name[:i] + name[i + 1 :]}
        found.add(name[:i] + name[i + 1 : i + 2] + name[i] + name[i + 2 :])
    return found - set(METHODS) - {""}


def test_a_method_with_one_typing_error_is_suggested_first():
    """Others are as close to a few of them: ``q-vae`` may be ``vq-vae`` or ``rq-vae``."""
    typed = [(name, wrong) for name in METHODS for wrong in sorted(typing_errors(name))][::7]
    first = [closest(wrong, METHODS)[:1] == [name] for name, wrong in typed]
    assert sum(first) / len(first) > 0.98


@pytest.mark.parametrize(
    ("typed", "known", "found"),
    [
        ("vea", ["vaeac", "vae", "ae"], "vae"),  # two letters changed places
        ("waae", ["aae", "wae"], "wae"),  # both have one error; `wae` has the same letters
        ("VAE", ["vae", "ae"], "vae"),
        ("ltent", ["net", "latent", "patience"], "latent"),
        ("abcd", ["abdc", "abce"], "abdc"),
    ],
)
def test_the_closest_name(typed, known, found):
    assert closest(typed, known)[0] == found


def test_a_name_without_half_of_its_letters_is_not_suggested():
    assert closest("zzz", METHODS) == []
