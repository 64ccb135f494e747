"""Reading, redriving and deleting dead letters."""
