"""Models from other formats: each importer ends in an ir.Graph with its data.

What the formats share is here: `recorder` computes what is known and records the rest, `sizes` has
arrays whose elements are sizes, `names` makes names that a graph can use, and `obstacles` collects
everything that stands in the way into one error. A format's own package is imported only when such
a model is given.
"""
