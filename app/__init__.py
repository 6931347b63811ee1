"""The web page: one file of wiring, one of words."""
