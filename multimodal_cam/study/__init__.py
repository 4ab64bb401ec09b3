"""The localisation study: do maps of words lie on the things that the words name, and more than maps that know nothing?

config, schema <- sources <- measure (maps, controls, metrics) <- runner (batches, workers, folder) <- report
"""
