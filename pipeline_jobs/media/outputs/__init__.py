"""What a media job can make besides its transcript and its film: one module a kind, described by `catalogue`."""
