"""Weakly supervised object localisation: the error of boxes that are made of maps."""
