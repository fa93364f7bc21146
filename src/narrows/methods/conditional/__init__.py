"""Methods that are told something: labels, attributes."""
