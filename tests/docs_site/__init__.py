"""Builds the documentation as a site (`make site`): pages of docs/, and a reference that is made from the code."""
