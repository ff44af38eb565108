"""What is to be done, and how it is observed, controlled, reset and rewarded."""
