"""Dead letters in the ledger: their records, redrives and notifications."""
