"""Pictures for people: overlays, a figure and a self-contained page. Colour lives only here."""
