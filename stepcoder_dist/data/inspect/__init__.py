"""`stepcoder data inspect`: what a set holds, and what its references do."""
