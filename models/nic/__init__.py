"""Show and Tell: captioner without attention, with the encoder that the other bundled models share."""
