"""One file a format; each holds a record FORMAT of `rhat.vectors.format.Format`."""
