"""The file, its writer thread, its readers, and the watch on other processes' writes."""
