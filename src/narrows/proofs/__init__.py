"""A proof a method: the paper's claim, measured on data that anyone can have."""
