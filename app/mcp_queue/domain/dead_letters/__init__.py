"""Dead letters as data, how they are read, and how they become tasks again."""
