"""The localisation study: do maps of words lie on the things that the words name, and more than maps that know nothing?

settings -> sources -> [ targets -> measuring (maps, controls, measures) ] a shard at a time -> store -> report
"""
