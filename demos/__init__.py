"""What a newcomer would run."""
