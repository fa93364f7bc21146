"""How the named sets are read: one function a way of storing them."""
