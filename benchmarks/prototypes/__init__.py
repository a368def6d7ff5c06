"""A few labelled prototypes in the place of a data set's embeddings."""
