"""Published methods: one system a file, in folders by family."""
