"""Codes on spheres and other manifolds, in the Poincaré ball, and on the simplex."""
