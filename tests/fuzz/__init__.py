"""Seeded damage to files: every format that narrows reads is changed at random and read again.

What must hold of every case: the file is refused with a sentence (a `NarrowsError`), or it is read and nothing is
wrong without a word. No other exception, no dead process, no more memory than four times the files plus 512 MiB.

A format is one `Format` in a module of `fuzz.formats`; the modules are found by themselves. By hand, from the root of
the repository: ``make fuzz N=10000``, and one case again with ``make fuzz CASE=npy:17``.
"""
