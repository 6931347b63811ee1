"""From a file to a tensor: taxonomy, manifests, splits, pictures and transforms. Knows no model."""
