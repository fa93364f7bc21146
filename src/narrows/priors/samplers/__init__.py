"""How priors draw: solvers of differential equations, categorical draws, unmasking by confidence. No word of nets."""
