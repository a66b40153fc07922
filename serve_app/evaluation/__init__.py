"""An operator's own questions against a live collection: is the right text found, and used?"""
