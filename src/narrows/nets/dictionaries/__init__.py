"""The linear halves of sparse autoencoders: encoders to many features, and dictionaries of atoms."""
