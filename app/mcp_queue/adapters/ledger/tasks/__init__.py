"""Tasks in the ledger: their records, executions, claims and due times."""
