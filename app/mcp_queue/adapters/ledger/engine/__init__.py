"""Database machinery: connections, transactions, batches, pages and migrations."""
