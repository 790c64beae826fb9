"""Keys, seals, signatures and tokens: values in, values out."""
