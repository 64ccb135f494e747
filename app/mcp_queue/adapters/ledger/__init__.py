"""The ledger: a SQL database that remembers every task."""
