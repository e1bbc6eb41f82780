"""`stepcoder data overlap`: how much of one set is found in another."""
