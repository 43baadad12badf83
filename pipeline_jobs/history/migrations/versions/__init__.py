"""One module for each change, the first one first by `down_revision`."""
