"""`make siege`: what one hostile tenant, or somebody without a key, costs another tenant. See `tests/siege/__main__.py`."""
