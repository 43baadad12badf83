"""Makes the clients of the API from its OpenAPI document (`make clients`), and calls each of their operations once."""
