"""What filters of a table's rows cost."""
