"""One home for each thing outside: queues, clocks, HTTP, storage. Foreign errors become the product's own here."""
