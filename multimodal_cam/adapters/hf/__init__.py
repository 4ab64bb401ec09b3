"""Models of Hugging Face's transformers: one small file a family, what families share in files named after what they do.

Nothing here imports transformers before a model is loaded.
"""
