"""Reading, redriving and closing dead letters, with or without a ledger."""
