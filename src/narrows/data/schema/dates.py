"""Dates as text: which format a column has, and the seconds since 1970 of its cells."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

__all__ = ["ISO", "date_form", "seconds_of", "text_of", "unit_of"]

ISO = "2024-05-17"
"""The format of ISO dates, with a time or without, with an offset from UTC or without: a sample."""

_FORMS = tuple(
    day + time
    for day in ("%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%Y/%m/%d")
    for time in ("", " %H:%M", " %H:%M:%S")
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def date_form(texts: Iterable[str]) -> tuple[str, str]:
    """The format that most texts have, and the first text that does not have it; empty if there is none.

    A format is that of `datetime.strptime`, or of ISO dates a sample.

    Example:
        >>> date_form(["2024-05-17", "2024-05-18 06:30"]), date_form(["31.12.2023", "30.02.2024"])
        (('2024-05-17', ''), ('%d.%m.%Y', '30.02.2024'))
    """
    known = list(texts)
    best, least = ("", ""), len(known)
    for form in (ISO, *_FORMS):
        if known and not any(_plausible(text, form) for text in known[:3]):
            continue
        wrong = [text for text in known if seconds_of(text, form) is None]
        bad = set(wrong)
        if len(wrong) < least:
            right = next(text for text in known if text not in bad) if form == ISO else form
            best, least = (right, wrong[0] if wrong else ""), len(wrong)
        if not wrong:
            break
    return best


def _plausible(text: str, form: str) -> bool:
    """A quick test of whether a text may be a date."""
    return len(text) >= 8 and text[0].isdigit() and (form == ISO or form[2] in text)


def seconds_of(text: str, form: str) -> float | None:
    """Seconds since 1970 in UTC; None if the text does not have the format. A time without an offset is in UTC.

    Example:
        >>> seconds_of("1970-01-02T01:00:00+01:00", ISO), seconds_of("02.01.1970", "%d.%m.%Y")
        (86400.0, 86400.0)
    """
    try:
        if "%" not in form and len(text) < 8:
            return None
        found = datetime.strptime(text, form) if "%" in form else datetime.fromisoformat(text)
    except ValueError:
        return None
    found = found if found.tzinfo is not None else found.replace(tzinfo=UTC)
    return (found - _EPOCH) / timedelta(seconds=1)


def unit_of(form: str) -> float:
    """The seconds of the smallest unit of a format.

    Example:
        >>> unit_of("%d.%m.%Y"), unit_of("2024-05-17T06:30")
        (86400.0, 60.0)
    """
    if "%" not in form:
        clock = form[11:].partition("+")[0].removesuffix("Z")
        return 86400.0 if not clock else 1e-6 if "." in clock else 1.0 if clock.count(":") > 1 else 60.0
    units = {"%f": 1e-6, "%S": 1.0, "%M": 60.0, "%H": 3600.0}
    return next((seconds for mark, seconds in units.items() if mark in form), 86400.0)


def text_of(seconds: float, form: str) -> str:
    """A date as text.

    Example:
        >>> text_of(86400.0, ISO), text_of(86400.0, "2024-05-17T06:30:00+02:00")
        ('1970-01-02', '1970-01-02T02:00:00+02:00')
    """
    unit = unit_of(form)
    moment = _EPOCH + timedelta(seconds=round(seconds / unit) * unit)
    if "%" in form:
        return moment.strftime(form)
    if unit == 86400.0:
        return moment.date().isoformat()
    like = datetime.fromisoformat(form)
    moment = moment.replace(tzinfo=None) if like.tzinfo is None else moment.astimezone(like.tzinfo)
    text = moment.isoformat(form[10], {60.0: "minutes", 1.0: "seconds"}.get(unit, "microseconds"))
    return text.replace("+00:00", "Z") if form.endswith("Z") else text
