"""Names of a network's channels: how they are found, and how well they fit the words that the channels speak for."""
