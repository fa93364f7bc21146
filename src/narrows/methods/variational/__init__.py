"""Methods with a variational posterior."""
