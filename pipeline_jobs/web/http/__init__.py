"""How requests are read and answers written."""
