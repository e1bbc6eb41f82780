"""`stepcoder data`: what can be done to a problem set."""
