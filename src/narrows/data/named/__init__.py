"""Data sets with a name, an address and a checksum."""
