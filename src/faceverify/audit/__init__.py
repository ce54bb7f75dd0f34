"""What is wrong with labelled photos: observations, findings, and a page that shows them."""
