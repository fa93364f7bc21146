"""The columns of a user's table: their types, cells as numbers, and numbers as cells."""
