"""What operators may do, and the record of what they did."""
