"""Linear encoders and decoders (dictionaries of atoms) of sparse autoencoders."""
